"""Evolutionary search: populations of candidates, bred by NSGA-II."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.mappers.search.each import chooser
from dse.mappers.search.sampled import explore_with

if TYPE_CHECKING:
    from dse.mappers.search.search import Search

BUDGET = 1000
POPULATION = 50


def explore(search: Search) -> None:
    """Breed candidates until a limit is reached or nothing new is born."""
    from optuna.samplers import NSGAIISampler

    explore_with(NSGAIISampler(population_size=POPULATION, seed=search.limits.seed), search, POPULATION)


choose = chooser(explore, BUDGET)
