"""What the top-k engines keep is what torch keeps, for every pivot rule and with the documented tie rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dse.simulator.topk import PIVOTS, TopK, select
from dse.workloads.score_trace import load_scores

KEPT = (1, 13, 64, 127)


@pytest.mark.parametrize("pivot", PIVOTS)
def test_real_scores_keep_what_torch_keeps(pivot: str) -> None:
    trace, draw = load_scores("minilm_alice_128"), np.random.default_rng(1)
    engine = TopK(pivot=pivot)  # type: ignore[arg-type]
    for head in trace.heads[::9]:
        for k in KEPT:
            codes = head.codes[3]
            scores = torch.from_numpy(codes.astype(np.int32))
            kept = select(engine, codes, k, draw).kept
            # Of equal scores the earlier stay: a stable sort says so; torch.topk promises the values only.
            order = torch.sort(scores, descending=True, stable=True).indices[:k]
            assert kept.tolist() == order.sort().values.tolist()
            assert scores[kept].sort().values.tolist() == torch.topk(scores, k).values.sort().values.tolist()
