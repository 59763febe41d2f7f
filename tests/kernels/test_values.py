"""Scores captured from a run are those of the reference, in order of visit, exact or quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import TraceError
from dse.kernels.trace_kernel import trace_kernel
from dse.workloads.trace_file import read_trace, write_trace
from dse.workloads.values import values_path

if TYPE_CHECKING:
    from pathlib import Path

    from dse.workloads.trace import Trace

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.flash_forward import make_inputs  # noqa: E402
from dse.workloads.annotation import load_annotation  # noqa: E402

GIVEN: dict[str, object] = {
    "sequence": 50,
    "queries": 40,
    "heads": 2,
    "kv_heads": 1,
    "head_dim": 16,
    "causal": True,
    "tile_queries": 16,
    "tile_keys": 16,
    "precision": "fp32",
}


def traced(bits: int | None) -> Trace:
    return trace_kernel("flash_forward", GIVEN, 3, "values", bits)


def reference() -> np.ndarray:
    """Masked logits, (heads, queries, keys) padded to whole tiles with -inf."""
    inputs = make_inputs(load_annotation("flash_forward").resolve(GIVEN), 3)
    q, k = inputs["q"][0].double(), inputs["k"][0].double()
    scores = (q @ k.mT / 4).numpy()
    visible = np.arange(50)[None, :] <= np.arange(40)[:, None] + 10
    full = np.full((2, 48, 64), -np.inf)
    full[:, :40, :50] = np.where(visible, scores, -np.inf)
    return full


def test_scores_are_those_of_the_reference_in_order_of_visit() -> None:
    (values,) = traced(None).values
    wanted = reference()
    assert len(values.programs) == 3 * 2
    for program in values.programs:
        tile, head, _ = program.program
        assert program.corners == tuple(range(0, 16 * len(program.corners), 16))
        assert program.kept == tuple(range(len(program.corners)))
        rows = wanted[head, 16 * tile : 16 * tile + 16]
        for corner, got in zip(program.corners, values.scores(program), strict=True):
            np.testing.assert_allclose(got, rows[:, corner : corner + 16], rtol=1e-5, atol=1e-5)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(program.row_max, rows.max(axis=1), atol=1e-5)
        used = np.isfinite(program.row_max)
        sums = np.exp(rows[used] - rows[used].max(axis=1, keepdims=True)).sum(axis=1)
        np.testing.assert_allclose(program.row_sum[used], sums, rtol=1e-5)
        assert not program.row_sum[~used].any()


def test_quantised_scores_are_off_by_half_a_step_at_most() -> None:
    (exact,), (coarse,) = traced(None).values, traced(4).values
    assert max(np.abs(p.codes[p.codes > -8]).max() for p in coarse.programs) == 7
    for one, other in zip(exact.programs, coarse.programs, strict=True):
        left, right = exact.scores(one), coarse.scores(other)
        np.testing.assert_array_equal(np.isfinite(left), np.isfinite(right))
        seen = np.isfinite(left)
        assert np.abs(left[seen] - right[seen]).max() <= coarse.step / 2 + 1e-6
        np.testing.assert_array_equal(one.row_max, other.row_max)


@pytest.mark.parametrize("bits", [None, 4, 12])
def test_values_stand_in_a_file_beside_the_trace(tmp_path: Path, bits: int | None) -> None:
    trace = traced(bits)
    path = tmp_path / "run.parquet"
    write_trace(trace, path)
    assert values_path(path) == tmp_path / "run.values.parquet"
    again = read_trace(path)
    assert again == trace
    for one, other in zip(trace.values[0].programs, again.values[0].programs, strict=True):
        assert (one.program, one.corners, one.kept) == (other.program, other.corners, other.kept)
        assert one.codes.dtype == other.codes.dtype
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.row_sum, other.row_sum)
    assert again.values[0].step == trace.values[0].step


def test_values_that_are_missing_damaged_or_foreign_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.parquet"
    write_trace(traced(8), path)
    whole = values_path(path).read_bytes()
    values_path(path).write_bytes(whole[:100])
    with pytest.raises(TraceError, match=r"run\.values\.parquet: damaged values"):
        read_trace(path)
    write_trace(trace_kernel("flash_forward", {"sequence": 16, "heads": 1}, 0, "values"), path)
    values_path(path).write_bytes(whole)
    with pytest.raises(TraceError, match="these values belong to another trace"):
        read_trace(path)
    values_path(path).unlink()
    with pytest.raises(TraceError, match="has values, but their file is missing"):
        read_trace(path)


def test_bits_have_limits() -> None:
    with pytest.raises(TraceError, match="quantised to 2 to 16 bits, not 1"):
        traced(1)
