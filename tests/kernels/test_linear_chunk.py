"""Chunked linear attention and its decode step: references, cascades, closed forms, one state for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.errors import TraceError, WorkloadError
from dse.workloads.cascade_file import load_cascade
from dse.workloads.numeric import execute
from tests.kernels import agreement

if TYPE_CHECKING:
    from dse.workloads.trace import Value

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.linear_chunk import linear_chunk, unit_rows  # noqa: E402
from dse.kernels.linear_chunk_naive import linear_chunk_naive  # noqa: E402
from dse.kernels.linear_decode import linear_decode  # noqa: E402

SMALL: dict[str, object] = {"heads": 2, "head_dim": 16, "chunk": 16}
CASES: dict[str, dict[str, object]] = {
    "even": {"sequence": 64},
    "odd": {"sequence": 77, "head_dim": 20, "value_dim": 9, "chunk": 32},
    "ragged": {"sequence": 64, "batch": 4, "lengths": (64, 1, 0, 33)},
    "one row": {"sequence": 1},
}
STEPS: dict[str, dict[str, object]] = {
    "even": {"heads": 2, "head_dim": 16},
    "odd": {"heads": 3, "batch": 2, "head_dim": 7, "value_dim": 41, "tile_values": 16, "history": 5},
}


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", CASES)
def test_chunks_equal_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("linear_chunk", SMALL | CASES[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
@pytest.mark.parametrize("case", STEPS)
def test_a_step_equals_the_naive_reference(case: str, precision: str) -> None:
    found = agreement.error("linear_decode", STEPS[case] | {"precision": precision})
    assert found < agreement.TOLERANCE[precision]


@pytest.mark.parametrize("precision", agreement.TOLERANCE)
def test_the_divisor_makes_weighted_means(precision: str) -> None:
    given: dict[str, Value] = {
        "batch": 1,
        "heads": 2,
        "head_dim": 16,
        "value_dim": 16,
        "precision": precision,
    }
    rows = unit_rows(given, 45, 0, positive=True)
    lengths = torch.tensor([45], dtype=torch.int32)
    arguments = {**rows, "lengths": lengths, "normalise": True, "chunk": 16}
    found = agreement.outputs("linear_chunk", arguments)
    assert (
        agreement.difference(found, agreement.references("linear_chunk", arguments))
        < agreement.TOLERANCE[precision]
    )
    assert float(found[0].abs().max()) <= float(rows["v"].abs().max())


def test_no_decay_is_plain_causal_linear_attention() -> None:
    arguments = agreement.inputs("linear_chunk", SMALL | {"sequence": 50, "precision": "fp32"})
    q, k, v = (arguments[name].double() for name in "qkv")
    o, state = agreement.outputs("linear_chunk", arguments | {"decays": torch.ones(2)})
    wanted = (q @ k.mT).tril() @ v
    assert agreement.difference((o, state), (wanted, k.mT @ v)) < 1e-5


def test_decoding_row_by_row_equals_chunks() -> None:
    rows = unit_rows(
        {"batch": 1, "heads": 2, "head_dim": 16, "value_dim": 16, "precision": "fp32"}, 20, 0, True
    )
    decays = rows.pop("decays")
    whole = agreement.outputs("linear_chunk", {**rows, "decays": decays, "normalise": True, "chunk": 16})
    states = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16)
    for row in range(20):
        q, k, v = (rows[name][:, :, row : row + 1] for name in "qkv")
        arguments = {"q": q, "k": k, "v": v, "decays": decays, "state": states[0], "key_sum": states[1]}
        o, *states = agreement.outputs("linear_decode", arguments)  # type: ignore[assignment]
        assert agreement.difference((o,), (whole[0][:, :, row : row + 1],)) < 1e-5
    assert agreement.difference(states, whole[1:]) < 1e-5


@pytest.mark.parametrize("rows", [64, 41])
def test_chunks_equal_their_cascade(rows: int) -> None:
    arguments = agreement.inputs("linear_chunk", SMALL | {"sequence": rows, "precision": "fp32"})
    o, state = (tensor[0, 0].double().numpy() for tensor in agreement.outputs("linear_chunk", arguments))
    chunks = -(-rows // 16)
    sizes = {"e": 16, "f": 16, "c": chunks, "i": 16, "j": 16}
    place = np.arange(16)
    used = np.minimum(rows - 16 * np.arange(chunks), 16)
    given = {
        name: np.pad(tensor, ((0, 16 * chunks - rows), (0, 0))).reshape(chunks, 16, 16)
        for name, tensor in zip("QKV", agreement.float_heads(arguments, "q", "k", "v"), strict=True)
    }
    lag = place[:, None] - place[None, :]
    given |= {
        "G": np.log2(np.float64(arguments["decays"][0])),
        "LAG": np.maximum(lag, 0).astype(float),
        "SEEN": (lag >= 0).astype(float),
        "AGE": place + 1.0,
        "LEFT": np.maximum(used[:, None] - 1.0 - place, 0.0),
        "SIZE": used.astype(float),
    }
    values = execute(load_cascade("linear_chunk"), sizes, given)
    assert np.abs(values["AV"].reshape(-1, 16)[:rows] - o).max() < 1e-5
    assert np.abs(values["S"][-1] - state).max() < 1e-5


def test_a_step_equals_its_cascade() -> None:
    arguments = agreement.inputs("linear_decode", STEPS["odd"] | {"precision": "fp32"})
    o, state = (tensor[0, 0].double().numpy() for tensor in agreement.outputs("linear_decode", arguments))
    q, k, v, before = agreement.float_heads(arguments, "q", "k", "v", "state")
    given = {"Q": q[0], "K": k[0], "V": v[0], "S": before, "DECAY": np.float64(arguments["decays"][0])}
    values = execute(load_cascade("linear_step"), {"e": 7, "f": 41}, given)
    assert np.abs(values["AV"] - o[0]).max() < 1e-5
    assert np.abs(values["SN"] - state).max() < 1e-5


def test_counts_of_chunks_in_closed_form() -> None:
    """4 chunks of 16 rows: work grows with the rows, not with their square."""
    _, found = agreement.lifted("linear_chunk", SMALL | {"sequence": 64})
    chunks = 2 * 4
    assert found.launches[0].steps == {"chunks": chunks}
    assert found.executed_flops == chunks * 4 * 2 * 16**3
    assert found.useful_pairs == chunks * 16 * 17 // 2
    assert found.useful_flops == found.useful_pairs * 2 * 32 + 2 * 64 * 2 * 2 * 16 * 16
    # Per program the decays within a chunk, per chunk those to its end and over it.
    assert found.executed_exps == 2 * (256 + 16) + chunks * 17
    assert found.read_bytes["Q"] == found.read_bytes["K"] == found.written_bytes["AV"] == 2 * 64 * 16 * 2
    assert found.written_bytes["S"] == 2 * 16 * 16 * 4


def test_ragged_chunks_lift() -> None:
    _, found = agreement.lifted("linear_chunk", SMALL | CASES["ragged"])
    assert found.launches[0].steps == {"chunks": 2 * (4 + 1 + 0 + 3)}
    assert found.useful_pairs == 2 * (4 * 136 + 1 + 2 * 136 + 1)


def test_a_step_costs_the_same_whatever_came_before() -> None:
    short, long = (agreement.lifted("linear_decode", STEPS["even"] | {"history": n})[0] for n in (1, 200))
    assert short.launches == long.launches
    _, found = agreement.lifted("linear_decode", STEPS["even"] | {"value_dim": 64, "tile_values": 32})
    assert found.read_bytes["S"] == found.written_bytes["SN"] == 2 * 16 * 64 * 4
    # Every program of value columns reads the query and the key.
    assert found.read_bytes["Q"] == found.read_bytes["K"] == 2 * 2 * 16 * 2
    assert found.executed_flops == found.executed_exps == found.useful_pairs == 0


def test_what_does_not_fit_is_refused() -> None:
    arguments = agreement.inputs("linear_chunk", SMALL | {"sequence": 16})
    for wrong, message in (
        ({"chunk": 24}, "chunk 24 must be a power of two from 16 up"),
        ({"decays": torch.tensor([0.5, 0.0])}, "decays must hold a number above 0"),
        ({"lengths": torch.tensor([17], dtype=torch.int32)}, "lengths must lie from 0 to 16"),
        ({"k": arguments["k"][:, :, 1:]}, "they must agree but for the value depth"),
    ):
        with pytest.raises(WorkloadError, match=message):
            linear_chunk(**arguments | wrong)
    step = agreement.inputs("linear_decode", STEPS["even"])
    with pytest.raises(WorkloadError, match=r"state must be fp32 of shape \(1, 2, 16, 16\)"):
        linear_decode(**step | {"state": step["state"].half()})
    with pytest.raises(WorkloadError, match="batch, heads, 1 row, depth"):
        linear_decode(**step | {name: arguments[name] for name in "qkv"})
    for kernel in ("linear_chunk", "linear_decode"):
        with pytest.raises(TraceError, match="bf16 arithmetic is wrong"):
            agreement.outputs(
                kernel, agreement.inputs(kernel, {"heads": 1, "head_dim": 16, "precision": "bf16"})
            )


def test_the_reference_is_the_definition() -> None:
    """Two rows by hand: o[1] = q[1] (decay k[0]^T v[0] + k[1]^T v[1])."""
    q, k, v = (torch.tensor(rows).reshape(1, 1, 2, 1) for rows in ([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]))
    o, state, key_sum = linear_chunk_naive(q, k, v, torch.tensor([0.5]), normalise=True)
    assert o.flatten().tolist() == [5.0, (7.5 + 24.0) / 5.5]
    assert state.item() == 31.5
    assert key_sum.item() == 5.5
