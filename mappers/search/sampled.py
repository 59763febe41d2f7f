"""Searches that Optuna steers: it proposes candidates in batches, they are evaluated together, it learns from all.

A candidate's value is the logarithm of its objective, so that scales do not matter. An infeasible candidate is worse
than every feasible one, and the worse the further it is from fitting, which leads the sampler back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna

    from dse.mappers.search.candidates import Codes, Part
    from dse.mappers.search.search import Search
    from dse.simulator.arrays import Array

PART = "part"
INFEASIBLE = 1e3
# A sampler that proposes nothing new in so many batches has converged.
PATIENCE = 20

Trials = list[tuple["optuna.Trial", tuple[int, bytes]]]


def explore_with(sampler: optuna.samplers.BaseSampler, search: Search, batch: int) -> None:
    """Ask for candidates, measure them together, tell their values, until a limit is reached or nothing new comes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * len(search.objective.names))
    known: dict[tuple[int, bytes], list[float]] = {}
    idle = 0
    while idle < PATIENCE and len(known) < search.space.size:
        asked = [_asked(study, search.space.parts) for _ in range(batch)]
        fresh = _fresh(asked, known)
        idle = 0 if fresh else idle + 1
        for number, codes in fresh.items():
            _measured(search, number, codes, known)
        for trial, key in asked:
            study.tell(trial, known[key])


def _asked(study: optuna.Study, parts: Sequence[Part]) -> tuple[optuna.Trial, tuple[int, bytes]]:
    """One proposal: a trial, its part and its row of indices."""
    trial = study.ask()
    number = trial.suggest_categorical(PART, range(len(parts))) if len(parts) > 1 else 0
    part = parts[number]
    code = np.zeros(len(part.axes), dtype=np.intp)
    for place, axis in enumerate(part.axes):
        last = len(axis.choices) - 1
        name = f"{number}.{axis.name}"
        if last and place < part.structural:
            code[place] = trial.suggest_categorical(name, range(last + 1))
        elif last:
            code[place] = trial.suggest_int(name, 0, last)
    return trial, (number, code.tobytes())


def _fresh(
    asked: list[tuple[optuna.Trial, tuple[int, bytes]]], known: dict[tuple[int, bytes], list[float]]
) -> dict[int, list[Codes]]:
    """Rows of each part that have not been measured."""
    found: dict[int, list[Codes]] = {}
    for number, code in dict.fromkeys(key for _, key in asked if key not in known):
        found.setdefault(number, []).append(np.frombuffer(code, dtype=np.intp))
    return found


def _measured(
    search: Search, number: int, rows: list[Codes], known: dict[tuple[int, bytes], list[float]]
) -> None:
    """Measure rows of one part and note their values; a forbidden one counts as infinitely far from fitting."""
    part = search.space.parts[number]
    codes = np.array(rows, dtype=np.intp)
    allowed = search.space.allowed(part, codes)
    values = np.full((len(codes), len(search.objective.names)), 2 * INFEASIBLE)
    values[allowed] = _values(search.measure(part, codes[allowed]))
    known.update(
        ((number, code.tobytes()), value.tolist()) for code, value in zip(codes, values, strict=True)
    )


def _values(measured: Array) -> Array:
    """What the sampler is told of candidates: log objectives, or how far an infeasible one is off."""
    scores, excess = measured[:, :-1], measured[:, -1:]
    with np.errstate(divide="ignore"):
        off = INFEASIBLE + np.minimum(np.log10(np.maximum(excess, 1.0)), INFEASIBLE)
        return np.where(np.isfinite(scores), np.log10(scores), off)
