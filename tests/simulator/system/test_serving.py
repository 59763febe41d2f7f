"""Serving: the limit of low load, conservation of tokens, order, capacity; generation as the sum of its steps."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from dse.arch.machine import load_machine
from dse.errors import ConfigError, InfeasibleError
from dse.simulator.mapping import load_mapping
from dse.simulator.system.generation import Steps, generate
from dse.simulator.system.serving import POLICIES, Scenario, StepTimes, serve, token_room


@cache
def steps(machine: str = "duplex", model: str = "mixtral_8x7b", **options: str) -> Steps:
    loaded = load_machine(machine)
    return Steps(loaded, load_mapping(loaded.mapping, options), "physical", model, {})


def scenario(rate: float, **changes: object) -> Scenario:
    values = {"requests": 40, "prompt": (256, 256), "tokens": (32, 32), "largest_batch": 16} | changes
    return Scenario(rate, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", POLICIES)
def test_low_load_comes_to_the_analytic_limit(policy: str) -> None:
    calm = scenario(0.01, policy=policy)
    served, times = serve(steps(), calm), StepTimes(steps(), calm)
    assert served.first_token_s == pytest.approx(np.full(40, times.prefill(256)), rel=1e-9)
    alone = [times.decode(1, 256 + out) for out in range(1, 32)]
    assert np.sort(served.between_tokens_s)[::40] == pytest.approx(np.sort(alone), rel=1e-6)
    assert served.busy_s < 0.01 * served.end_s


@pytest.mark.parametrize("policy", POLICIES)
def test_all_tokens_come_out_in_order(policy: str) -> None:
    served = serve(steps(), scenario(200.0, policy=policy, prompt=(64, 512), tokens=(1, 40)))
    for job in served.jobs:
        assert len(job.out_s) == job.tokens
        assert job.out_s[0] > job.arrived_s
        assert (np.diff(job.out_s) > 0).all()
    assert served.batches.max() <= 16
    assert served.busy_s <= served.end_s


def test_more_load_means_more_throughput_and_longer_waits() -> None:
    found = [serve(steps(), scenario(rate)) for rate in (1.0, 20.0, 2000.0)]
    assert np.all(np.diff([each.tokens_per_s for each in found]) > 0)
    assert np.all(np.diff([np.percentile(each.first_token_s, 99) for each in found]) > 0)


def test_the_same_seed_gives_the_same_times() -> None:
    first, second = (serve(steps(), scenario(50.0, seed=3)) for _ in range(2))
    assert np.array_equal(first.between_tokens_s, second.between_tokens_s)
    assert not np.array_equal(first.first_token_s, serve(steps(), scenario(50.0, seed=4)).first_token_s)


def test_memory_limits_the_batch() -> None:
    long = scenario(1000.0, requests=12, prompt=(60_000, 60_000), tokens=(4, 4), largest_batch=64)
    room = token_room(steps(), long)
    served = serve(steps(), long)
    assert served.batches.max() * 60_004 <= room < 64 * 60_004


def test_what_cannot_be_served_is_said() -> None:
    with pytest.raises(ConfigError, match="no range of positive lengths"):
        scenario(1.0, prompt=(5, 4))
    with pytest.raises(InfeasibleError, match="memory capacity"):
        serve(steps("duplex_gpu", "gpt3_175b"), scenario(1.0))


def test_a_generation_is_its_steps_one_by_one() -> None:
    asked = steps("dgx_attacc", "gpt3_175b")
    together = generate(asked, 8, 500, 12)
    alone = [asked.decode(8, np.array([500.0 + out])).seconds[0] for out in range(1, 12)]
    assert np.array_equal(together.seconds, np.array(alone))
