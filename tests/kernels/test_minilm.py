"""The trained encoder gives the same embeddings with the Triton kernel as in plain torch, and sensible ones."""

from __future__ import annotations

import numpy as np
import pytest

from dse import spec
from dse.errors import MissingDependencyError, WorkloadError
from dse.workloads.keep import keep_lists, linear_ratios
from dse.workloads.model import ModelFile
from dse.workloads.passage import load_passage
from dse.workloads.score_trace import LARGEST_CODE, load_scores

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels import interpreter, minilm  # noqa: E402
from dse.kernels.reference import kernel_hash  # noqa: E402


@pytest.fixture(scope="module")
def encoder() -> minilm.Encoder:
    for package in minilm.NEEDED:
        pytest.importorskip(package)
    return minilm.load_encoder()


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "NEEDED", ("no_such_package",))
    with pytest.raises(
        MissingDependencyError, match=r"needs no_such_package: python -m pip install 'dse-attn\[models\]'"
    ) as failure:
        minilm.require_models()
    assert failure.value.exit_code == 4


@pytest.mark.parametrize(("passage", "length"), [("alice", 16), ("two_cities", 40), ("gettysburg", 64)])
def test_embeddings_with_the_kernel_are_those_of_plain_torch(
    encoder: minilm.Encoder, passage: str, length: int
) -> None:
    ids = encoder.tokens(load_passage(passage).plain, length).ids
    plain = encoder.forward(ids, minilm.torch_attention)
    with interpreter.session():
        fused = encoder.forward(ids, minilm.flash_attention)
    assert float(fused.embedding @ plain.embedding) > 0.99999
    for one, other in zip(fused.outputs, plain.outputs, strict=True):
        assert float((one - other).abs().max()) < 1e-4


def test_the_forward_pass_is_that_of_torchs_own_encoder_layer(encoder: minilm.Encoder) -> None:
    """An independent implementation of the same layer, given the same weights."""
    weights, depth = encoder.weights, 384
    other = torch.nn.TransformerEncoderLayer(
        depth, encoder.head_count, 1536, 0.0, "gelu", encoder.epsilon, batch_first=True
    ).eval()
    below = "encoder.layer.0"
    parts = [f"{below}.attention.self.{name}" for name in ("query", "key", "value")]
    names = {
        "self_attn.out_proj": f"{below}.attention.output.dense",
        "linear1": f"{below}.intermediate.dense",
        "linear2": f"{below}.output.dense",
        "norm1": f"{below}.attention.output.LayerNorm",
        "norm2": f"{below}.output.LayerNorm",
    }
    state = {
        f"{to}.{end}": weights[f"{name}.{end}"] for to, name in names.items() for end in ("weight", "bias")
    }
    for end in ("weight", "bias"):
        state[f"self_attn.in_proj_{end}"] = torch.cat([weights[f"{part}.{end}"] for part in parts])
    other.load_state_dict(state)
    before = encoder.start(encoder.tokens("A dog runs in the park.").ids)
    with torch.no_grad():
        wanted = other(before[None])[0]
    got = encoder.finish(0, before, minilm.torch_attention(0, *encoder.heads(0, before)))
    assert float((got - wanted).abs().max()) < 1e-4


def test_embeddings_tell_meanings_apart(encoder: minilm.Encoder) -> None:
    texts = (
        "A dog is running in the park.",
        "A puppy plays outside on the grass.",
        "The stock market fell today.",
    )
    dog, puppy, market = (
        encoder.forward(encoder.tokens(text).ids, minilm.torch_attention).embedding for text in texts
    )
    assert float(dog @ puppy) > 3 * float(dog @ market)
    assert float(dog @ dog) == pytest.approx(1.0, abs=1e-6)


def test_the_shipped_model_has_the_shape_of_the_weights(encoder: minilm.Encoder) -> None:
    file = spec.load("minilm_l6", ModelFile, "workloads/models")
    wide = encoder.weights["encoder.layer.0.intermediate.dense.weight"]
    assert tuple(wide.shape) == (file.ffn_dim, file.model_dim)
    assert (encoder.layers, encoder.head_count) == (file.layers, file.heads)
    assert encoder.heads(0, encoder.start((101, 102)))[0].shape[-1] == file.score_dim


def test_texts_are_cut_to_tokens_with_both_ends(encoder: minilm.Encoder) -> None:
    tokens = encoder.tokens(load_passage("alice").plain, 16)
    assert tokens.pieces[:4] == ("[CLS]", "alice", "was", "beginning")
    assert (len(tokens.ids), tokens.pieces[-1]) == (16, "[SEP]")
    with pytest.raises(WorkloadError, match="the text has 4 tokens, fewer than 16"):
        encoder.tokens("two words", 16)
    with pytest.raises(WorkloadError, match="3 to 512 tokens, not 513"):
        encoder.tokens("two words", 513)


def test_committed_scores_are_those_of_the_encoder_in_plain_torch(encoder: minilm.Encoder) -> None:
    """Scores, row statistics, importance, head sizes and keep-lists, without any of the capturing code."""
    trace = load_scores("minilm_alice_64")
    state = encoder.start(trace.ids)
    importance = np.zeros((encoder.layers, trace.length))
    with torch.no_grad():
        for layer in range(encoder.layers):
            q, k, v = encoder.heads(layer, state)
            scores = (q @ k.mT)[0].double() / 32**0.5
            weights = torch.softmax(scores, -1)
            attended = minilm.torch_attention(layer, q, k, v)
            importance[layer] = weights.sum((0, 1)).numpy()
            for head in range(encoder.head_count):
                kept = trace.head(layer, head)
                exact = scores[head].numpy()
                assert np.abs(kept.scores() - exact[list(trace.rows)]).max() <= kept.step * 0.5001
                assert np.abs(kept.codes).max() == LARGEST_CODE
                np.testing.assert_allclose(kept.row_max, exact.max(1), atol=1e-3)
                np.testing.assert_allclose(1 / kept.row_sum, weights[head].max(1).values, rtol=1e-3)
                np.testing.assert_allclose(kept.importance, weights[head].sum(0), rtol=1e-3, atol=1e-5)
                assert kept.output == pytest.approx(float(attended[0, head].abs().sum()), rel=1e-4)
            state = encoder.finish(layer, state, attended)
    for share, lists in trace.keep.items():
        wanted = keep_lists(importance, linear_ratios(encoder.layers, float(share)))
        assert [list(one) for one in lists] == [one.tolist() for one in wanted]


def test_committed_scores_are_of_the_kernel_and_the_passages_as_they_are() -> None:
    for name in ("minilm_alice_16", "minilm_alice_512", "minilm_two_cities_256"):
        provenance = load_scores(name).provenance
        passage = load_passage(load_scores(name).passage)
        assert provenance["kernel_hash"] == kernel_hash("flash_forward"), "see workloads/scores/README.md"
        assert provenance["text_hash"] == passage.hash
