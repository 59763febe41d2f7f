"""Scores captured from the kernel are committed as they are; the kernel for importance sums them the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import TraceError, WorkloadError
from dse.workloads.score_trace import content_hash, load_scores, write_scores

if TYPE_CHECKING:
    from pathlib import Path

    from dse.workloads.score_trace import ScoreTrace

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels import importance, interpreter, minilm, minilm_capture  # noqa: E402


@pytest.fixture(scope="module")
def captured() -> ScoreTrace:
    for package in minilm.NEEDED:
        pytest.importorskip(package)
    return minilm_capture.capture("alice", 16)


def test_capturing_again_gives_the_committed_file(captured: ScoreTrace) -> None:
    """Codes may differ by one where another machine rounds a sum differently."""
    committed = load_scores("minilm_alice_16")
    assert (captured.ids, captured.pieces, captured.rows) == (committed.ids, committed.pieces, committed.rows)
    assert captured.keep == committed.keep
    for got, wanted in zip(captured.heads, committed.heads, strict=True):
        assert (got.layer, got.head) == (wanted.layer, wanted.head)
        assert np.abs(got.codes.astype(int) - wanted.codes).max() <= 1
        np.testing.assert_allclose(got.importance, wanted.importance, rtol=1e-3, atol=1e-5)


def test_the_kernel_for_importance_gives_the_same_column_sums(captured: ScoreTrace) -> None:
    heads = captured.heads[: captured.head_count]
    scores = torch.tensor(np.stack([head.scores() for head in heads]), dtype=torch.float32)[None]
    lse = torch.logsumexp(scores, -1)
    with interpreter.session():
        (sums,) = importance.importance(scores, lse)
    wanted = np.stack([head.importance for head in heads])
    assert np.abs(sums[0].numpy() - wanted).max() < 0.15  # half a code is up to 0.06 of a score
    assert float(sums.sum()) == pytest.approx(wanted.sum(), rel=1e-5)


def test_rows_are_thinned_evenly() -> None:
    for package in minilm.NEEDED:
        pytest.importorskip(package)
    trace = minilm_capture.capture("gettysburg", 16, 4)
    assert trace.rows == (2, 6, 10, 14)
    assert trace.heads[0].codes.shape == (4, 16)
    assert trace.heads[0].row_max.shape == (16,)
    with pytest.raises(WorkloadError, match="the text has 324 tokens, fewer than 400"):
        minilm_capture.capture("gettysburg", 400)


def test_a_kernel_that_gives_another_embedding_leaves_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in minilm.NEEDED:
        pytest.importorskip(package)
    right = minilm.torch_attention
    monkeypatch.setattr(minilm, "torch_attention", lambda *given: right(*given).flip(2))
    with pytest.raises(TraceError, match=r"embedding of 'alice' has cosine 0\.\d+ with the plain one"):
        minilm_capture.capture("alice", 16)


def test_files_hold_what_was_captured(captured: ScoreTrace, tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_scores(captured, path)
    again = load_scores(path)
    assert content_hash(again) == content_hash(captured)
    assert again.heads[7].codes.tolist() == captured.heads[7].codes.tolist()


def test_the_command_wants_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert minilm_capture.main([str(tmp_path / "none")]) == 2
    assert "usage: python -m dse.kernels.minilm_capture FOLDER" in capsys.readouterr().err
