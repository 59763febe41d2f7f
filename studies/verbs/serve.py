"""``dse serve``: a model on a system under a stream of requests, from no load to what it can do.

The row ``limit`` is the closed form of requests one at a time: what low load must come to. Loads are shares of the rate
at which prefills and full batches of decode take all of the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arch.machine import load_machine
from dse.errors import ConfigError, MappingError, Problem
from dse.simulator.arrays import total
from dse.simulator.mapping import load_mapping
from dse.simulator.system.generation import Steps, generate
from dse.simulator.system.serving import Scenario, Served, StepTimes, arrivals, token_room
from dse.simulator.system.serving import serve as run
from dse.studies.requests import pairs
from dse.studies.tables import emit, write
from dse.units import parse_count

if TYPE_CHECKING:
    from pathlib import Path

    from dse.simulator.system.serving import Policy

LOADS = (0.1, 0.3, 0.5, 0.7, 0.9)
OWN = ("sequence", "queries", "batch", "phase", "scope", "lengths")


def serve(
    machine: str,
    model: str,
    rates: list[float],
    lengths: dict[str, str],
    requests: int,
    batch: int,
    policy: Policy,
    seed: int,
    together: bool,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapping: str | None,
    options: list[str],
    output: Path | None,
    format: str,  # noqa: A002
) -> None:
    """Print one row for the limit of low load and one for each rate, or one row for a batch that runs together.

    Raises
    ------
    ConfigError, InfeasibleError
        A name, value or length is wrong; a request does not fit the memories.
    """
    steps = _steps(machine, model, parameters, changes, accounting, mapping, options)
    prompt, tokens = (_range(name, lengths[name]) for name in ("prompt", "tokens"))
    if together:
        rows = [_generation(steps, batch, prompt, tokens, rates)]
    else:
        scenario = Scenario(1.0, requests, prompt, tokens, policy, batch, seed)
        full = _full_rate(steps, scenario)
        wanted = [replace(scenario, rate_per_s=rate) for rate in rates or [load * full for load in LOADS]]
        rows = [_limit(steps, scenario)]
        rows += [_row(each, each.rate_per_s / full, run(steps, each)) for each in wanted]
    head = {"machine": machine, "model": model, "policy": policy, "accounting": accounting}
    table = [head | row for row in rows]
    if output is not None:
        write(table, output)
    emit(rows if format == "table" else table, format)


def _generation(
    steps: Steps, batch: int, prompt: tuple[int, int], tokens: tuple[int, int], rates: list[float]
) -> dict[str, Any]:
    """Prefill of a batch and every step of its decode.

    Raises
    ------
    ConfigError
        Lengths that vary, or rates: the batch starts and ends together.
    """
    if rates or prompt[0] != prompt[1] or tokens[0] != tokens[1]:
        raise ConfigError(
            Problem("takes one prompt length, one output length and no rates", path="--together")
        )
    first, found = steps.prefill(prompt[0], batch), generate(steps, batch, prompt[0], tokens[0])
    decode_s = float(total([np.array([second]) for second in found.seconds])[0])
    joules = float(total([np.array([joule]) for joule in found.joules])[0])
    return {
        "batch": batch,
        "prompt": prompt[0],
        "tokens": tokens[0],
        "prefill_s": float(first.seconds[0]),
        "decode_s": decode_s,
        "first_step_s": float(found.seconds[0]),
        "last_step_s": float(found.seconds[-1]),
        "tokens_per_s": batch * len(found.seconds) / decode_s,
        "decode_energy_j": joules,
    }


def _steps(
    machine: str,
    model: str,
    parameters: list[str],
    changes: list[str],
    accounting: str,
    mapping: str | None,
    options: list[str],
) -> Steps:
    """The model on the machine under its policy."""
    given = dict(pairs(parameters, "-p"))
    clash = [name for name in OWN if name in given]
    if clash:
        raise ConfigError(*(Problem("is set by serving itself", path=f"-p {name}") for name in clash))
    loaded = load_machine(machine, dict(pairs(changes, "-m")))
    policy = load_mapping(mapping or loaded.mapping, dict(pairs(options, "--option")))
    if policy.file.kind != "system":
        raise MappingError(f"{machine} is a {loaded.kind}; serving needs a system or a roofline device")
    return Steps(loaded, policy, accounting, model, given)


def _range(name: str, text: str) -> tuple[int, int]:
    """Least and most of ``N`` or ``N-M``."""
    least, _, most = text.partition("-")
    try:
        return parse_count(least), parse_count(most or least)
    except ConfigError as error:
        raise ConfigError(Problem(str(error), path=f"--{name}")) from None


def _full_rate(steps: Steps, scenario: Scenario) -> float:
    """Requests a second at which prefills and decode in full batches leave no time."""
    prompt, tokens = (sum(each) // 2 for each in (scenario.prompt, scenario.tokens))
    longest = scenario.prompt[1] + scenario.tokens[1]
    batch = max(1, min(scenario.largest_batch, int(token_room(steps, scenario) // longest)))
    times = StepTimes(steps, scenario)
    each = times.prefill(prompt) + (tokens - 1) * times.decode(batch, prompt + tokens / 2) / batch
    return 1.0 / each


def _limit(steps: Steps, scenario: Scenario) -> dict[str, Any]:
    """What every request sees that has the machine to itself."""
    times = StepTimes(steps, scenario)
    jobs = arrivals(scenario)
    first = np.array([times.prefill(job.prompt) for job in jobs])
    between = np.array([times.decode(1, job.prompt + out) for job in jobs for out in range(1, job.tokens)])
    row = {"load": 0.0, "rate_per_s": 0.0, "tokens_per_s": 0.0}
    return row | _quantiles(first, between) | {"mean_batch": 1.0, "busy": 0.0}


def _row(scenario: Scenario, load: float, served: Served) -> dict[str, Any]:
    """Results of one rate."""
    row = {"load": load, "rate_per_s": scenario.rate_per_s, "tokens_per_s": served.tokens_per_s}
    batches = served.batches
    return (
        row
        | _quantiles(served.first_token_s, served.between_tokens_s)
        | {
            "mean_batch": float(batches.mean()) if len(batches) else 1.0,
            "busy": served.busy_s / served.end_s,
        }
    )


def _quantiles(first: np.ndarray, between: np.ndarray) -> dict[str, float]:
    found = {}
    for name, values in (("ttft", first), ("tbt", between)):
        for share in (50, 99):
            found[f"{name}_p{share}_s"] = float(np.percentile(values, share)) if len(values) else np.nan
    return found
