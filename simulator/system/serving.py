"""Serving: requests arriving at random, batched step by step; a simpy process that asks the closed form for each step.

Modelled: Poisson arrivals, prompts and outputs of fixed or uniform length, first come first served, a batch limited by
memory (whole outputs are reserved) and by a number, prefill before or beside decode. A decode step of requests with
different numbers of keys takes the time of as many with their mean; between lengths of a grid times are interpolated,
those of mixed steps are of the next length up.
Not modelled: preemption, prefix caches, several replicas, transfers of keys between machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import simpy

from dse.errors import ConfigError, Problem
from dse.simulator.lowering import lower
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Generator

    from dse.simulator.arrays import Array
    from dse.simulator.system.generation import Steps

Policy = Literal["prefill_first", "mixed"]
POLICIES = ("prefill_first", "mixed")
# Lengths at which steps of one batch size are evaluated; times in between are interpolated.
_GRID = 33


@dataclass(frozen=True)
class Scenario:
    """A stream of requests: arrivals a second, how many, lengths from least to most, limits, seed."""

    rate_per_s: float
    requests: int
    prompt: tuple[int, int]
    tokens: tuple[int, int]
    policy: Policy = "prefill_first"
    largest_batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        for name, (least, most) in (("prompt", self.prompt), ("tokens", self.tokens)):
            if not 1 <= least <= most:
                problems.append(Problem(f"{least}-{most} is no range of positive lengths", path=f"--{name}"))
        if self.policy not in POLICIES:
            problems.append(Problem(f"'{self.policy}' is not one of {', '.join(POLICIES)}", path="--policy"))
        if not self.rate_per_s > 0 or self.requests < 1 or self.largest_batch < 1:
            problems.append(Problem("rate, requests and batch must be positive"))
        if problems:
            raise ConfigError(*problems)


@dataclass
class Job:
    """One request: when it arrived, its prompt and output, when each token was out."""

    arrived_s: float
    prompt: int
    tokens: int
    out_s: list[float] = field(default_factory=list)

    @property
    def keys(self) -> int:
        """Keys the next decode step attends to."""
        return self.prompt + len(self.out_s)


@dataclass(frozen=True)
class Served:
    """What came of a scenario: every request, and the time and requests in decode of every decode step."""

    jobs: list[Job]
    busy_s: float
    end_s: float
    batches: Array

    @property
    def tokens_per_s(self) -> float:
        """Tokens over the time from the first arrival to the last token."""
        return sum(len(job.out_s) for job in self.jobs) / (self.end_s - self.jobs[0].arrived_s)

    @property
    def first_token_s(self) -> Array:
        """Seconds from arrival to the first token of each request."""
        return np.array([job.out_s[0] - job.arrived_s for job in self.jobs])

    @property
    def between_tokens_s(self) -> Array:
        """Seconds between neighbouring tokens of all requests."""
        gaps = [np.diff(job.out_s) for job in self.jobs if len(job.out_s) > 1]
        return np.concatenate(gaps) if gaps else np.zeros(0)


class StepTimes:
    """Seconds of steps, asked of the closed form once for each batch size or prompt and kept."""

    def __init__(self, steps: Steps, scenario: Scenario) -> None:
        self.steps = steps
        least, most = scenario.prompt[0] + 1, scenario.prompt[1] + scenario.tokens[1]
        self.grid = np.unique(np.linspace(least, most, _GRID).round())
        self.prompts = np.unique(np.linspace(*scenario.prompt, _GRID).round())
        self._decode: dict[int, Array] = {}
        self._prefill: dict[int, float] = {}
        self._mixed: dict[tuple[int, int, int], float] = {}

    def decode(self, batch: int, keys: float) -> float:
        """Seconds of a decode step of ``batch`` requests with ``keys`` keys in the mean."""
        if batch not in self._decode:
            seconds = self.steps.decode(batch, self.grid).seconds
            self._decode[batch] = np.broadcast_to(seconds, self.grid.shape)
        return float(np.interp(keys, self.grid, self._decode[batch]))

    def prefill(self, prompt: int) -> float:
        """Seconds of the prefill of one prompt, between prompts of a grid."""
        above = int(np.searchsorted(self.prompts, prompt))
        near = [int(each) for each in self.prompts[max(above - 1, 0) : above + 1]]
        for each in near:
            if each not in self._prefill:
                self._prefill[each] = float(self.steps.prefill(each).seconds[0])
        return float(np.interp(prompt, near, [self._prefill[each] for each in near]))

    def mixed(self, batch: int, keys: float, prompt: int) -> float:
        """Seconds of a decode step with the prefill of a prompt beside it, both rounded up to the grid."""
        key = (batch, _up(self.grid, keys), _up(self.prompts, prompt))
        if key not in self._mixed:
            self._mixed[key] = float(self.steps.mixed(*key).seconds[0])
        return self._mixed[key]


def _up(grid: Array, length: float) -> int:
    """The first length of a grid that is not shorter."""
    return int(grid[min(int(np.searchsorted(grid, length)), len(grid) - 1)])


def token_room(steps: Steps, scenario: Scenario) -> float:
    """Keys of all requests together that the memories have room for beside the weights."""
    given = {"phase": "decode", "scope": "model", "sequence": scenario.prompt[1] + scenario.tokens[1]}
    work = load_workload(steps.model, {**steps.parameters, **given})
    facts = lower(work, steps.machine, steps.mapping, steps.accounting).facts
    return float(facts.more["largest_batch"][0] * work.sizes["m"][0])


def arrivals(scenario: Scenario) -> list[Job]:
    """The requests of a scenario in order of arrival."""
    random = np.random.Generator(np.random.PCG64(scenario.seed))
    gaps = -np.log1p(-random.random(scenario.requests)) / scenario.rate_per_s
    prompts = random.integers(scenario.prompt[0], scenario.prompt[1] + 1, scenario.requests)
    tokens = random.integers(scenario.tokens[0], scenario.tokens[1] + 1, scenario.requests)
    times = np.add.accumulate(gaps)
    return [Job(float(t), int(p), int(n)) for t, p, n in zip(times, prompts, tokens, strict=True)]


def serve(steps: Steps, scenario: Scenario) -> Served:
    """Every request of a scenario served on a machine.

    Raises
    ------
    InfeasibleError
        A single request does not fit the memories.
    """
    room = token_room(steps, scenario)
    env = simpy.Environment()
    server = _Server(env, StepTimes(steps, scenario), scenario, room)
    env.process(server.arrive())
    env.process(server.run())
    env.run()
    return Served(server.jobs, server.busy_s, env.now, np.array(server.batches, dtype=np.float64))


class _Server:
    """One machine: requests wait, are prefilled, and decode together."""

    def __init__(self, env: simpy.Environment, times: StepTimes, scenario: Scenario, room: float) -> None:
        self.env, self.times, self.scenario, self.room = env, times, scenario, room
        self.jobs = arrivals(scenario)
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self.batches: list[int] = []
        self.busy_s = 0.0
        self.news = env.event()

    def arrive(self) -> Generator[simpy.Event, None, None]:
        """Requests join the queue when their time comes."""
        for job in self.jobs:
            yield self.env.timeout(job.arrived_s - self.env.now)
            self.waiting.append(job)
            if not self.news.triggered:
                self.news.succeed()

    def run(self) -> Generator[simpy.Event, None, None]:
        """Steps, one after another, until the last request is done."""
        left = len(self.jobs)
        while left:
            if not self.waiting and not self.running:
                self.news = self.env.event()
                yield self.news
                continue
            joining = self._next()
            seconds = self._step_s(joining)
            self.busy_s += seconds
            yield self.env.timeout(seconds)
            left -= self._advance(joining)

    def _next(self) -> Job | None:
        """The request to prefill in this step, if one waits and fits."""
        if not self.waiting or len(self.running) >= self.scenario.largest_batch:
            return None
        job = self.waiting[0]
        reserved = sum(other.prompt + other.tokens for other in (*self.running, job))
        if reserved > self.room and self.running:
            return None
        return self.waiting.pop(0)

    def _step_s(self, joining: Job | None) -> float:
        if joining is not None and (self.scenario.policy == "prefill_first" or not self.running):
            return self.times.prefill(joining.prompt)
        keys = sum(job.keys for job in self.running) / len(self.running)
        self.batches.append(len(self.running))
        if joining is not None:
            return self.times.mixed(len(self.running), keys, joining.prompt)
        return self.times.decode(len(self.running), keys)

    def _advance(self, joining: Job | None) -> int:
        """Tokens of the step are out; how many requests they complete."""
        decoded = [] if joining is not None and self.scenario.policy == "prefill_first" else self.running
        for job in [*decoded, *([joining] if joining is not None else [])]:
            job.out_s.append(self.env.now)
        if joining is not None:
            self.running.append(joining)
        before = len(self.running)
        self.running = [job for job in self.running if len(job.out_s) < job.tokens]
        return before - len(self.running)
