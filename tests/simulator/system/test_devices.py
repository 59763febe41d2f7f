"""GPU machines and PIM stacks as devices: times of one, joules and bytes of all, refused kinds of device."""

from __future__ import annotations

import pytest

from dse.errors import MappingError
from dse.studies.batch import Request, Resolver
from dse.studies.record import evaluate_one
from dse.studies.rows import result_columns
from tests.simulator.system.steps import times

RESOLVER = Resolver()
GIVEN = {"sequence": "4K", "batch": 16, "phase": "decode"}


def test_attention_of_a_system_is_that_of_one_gpu_with_its_heads() -> None:
    system = evaluate_one(Request("hgx_h200", "llama3_70b", tuple(GIVEN.items())), RESOLVER)
    one = GIVEN | {"heads": 8, "kv_heads": 1}
    alone = evaluate_one(Request("h200", "llama3_70b", tuple(one.items())), RESOLVER)
    assert system.evaluation.seconds[0] == pytest.approx(alone.evaluation.seconds[0], rel=1e-12)
    assert system.evaluation.joules[0] == pytest.approx(8 * alone.evaluation.joules[0], rel=1e-9)
    moved = [result_columns(group)["dram_bytes"][0] for group in (system, alone)]
    assert moved[0] == pytest.approx(8 * moved[1], rel=1e-12)


def test_whole_models_run_on_gpus() -> None:
    asked = Request("hgx_h200", "mixtral_8x7b", tuple((GIVEN | {"scope": "model"}).items()))
    found = times(evaluate_one(asked, RESOLVER))
    assert set(found) == {"passes", "projections", "attention", "links", "experts", "all"}
    assert sum(found.values()) == pytest.approx(2 * found["all"])


def test_requests_in_prefill_and_decode_share_a_step() -> None:
    given = {"phase": "decode", "scope": "layer", "lengths": "2K*8,512/512"}
    mixed = evaluate_one(Request("hgx_h200", "llama3_70b", tuple(given.items())), RESOLVER)
    decode = evaluate_one(
        Request("hgx_h200", "llama3_70b", tuple((given | {"lengths": "2K*8"}).items())), RESOLVER
    )
    assert mixed.evaluation.seconds[0] > decode.evaluation.seconds[0]


def test_other_machines_are_no_xpus() -> None:
    asked = Request("hgx_h200", "llama3_70b", tuple(GIVEN.items()), (("devices.xpu.machine", "fusemax"),))
    with pytest.raises(MappingError, match="is no device of a system"):
        evaluate_one(asked, RESOLVER)


def test_stacks_in_the_memory_of_gpus_take_their_dram_timing() -> None:
    """Logic-PIM as stacks: the same bytes and energy as its roofline, attention longer by rows and refreshes."""
    given = tuple({"sequence": "1K", "batch": 32, "phase": "decode", "scope": "model"}.items())
    changed = (("devices.pim.machine", "duplex_pim"),)
    groups = [
        evaluate_one(Request("duplex_coprocessing", "mixtral_8x7b", given, changes), RESOLVER)
        for changes in ((), changed)
    ]
    plain, stacks = (times(group) for group in groups)
    assert 1.2 < stacks["attention"] / plain["attention"] < 2.0
    assert stacks["experts"] == pytest.approx(plain["experts"], rel=0.02)
    ratio = groups[1].evaluation.joules[0] / groups[0].evaluation.joules[0]
    assert ratio == pytest.approx(1.0, abs=0.02)
