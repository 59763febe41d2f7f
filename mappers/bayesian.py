"""Bayesian search: candidates proposed by a tree-structured Parzen estimator, for few and costly evaluations."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from dse.mappers.search.each import chooser
from dse.mappers.search.sampled import explore_with

if TYPE_CHECKING:
    from dse.mappers.search.search import Search

BUDGET = 200
BATCH = 10


def explore(search: Search) -> None:
    """Propose, measure and learn until a limit is reached or nothing new is proposed."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = TPESampler(seed=search.limits.seed, multivariate=True, group=True, constant_liar=True)
    explore_with(sampler, search, BATCH)


choose = chooser(explore, BUDGET)
