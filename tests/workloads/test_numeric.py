"""Numeric interpreter: operators against their definitions, order of reductions, carried ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.workloads.cascade_file import load_cascade, parse_cascade
from dse.workloads.numeric import execute
from dse.workloads.operators import FUNCTIONS, Array, reduce_axes

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = "assumes: [test]\nsource: test\nfamily: test\ntitle: test\n"
DEFINITIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "negate": lambda x: -x,
    "reciprocal": lambda x: 1 / x,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "square": lambda x: x * x,
    "tanh": math.tanh,
    "log": math.log,
    "sqrt": math.sqrt,
}


def single(line: str, **inputs: Array) -> Array:
    names = ", ".join(f"{name}: [m]" for name in inputs)
    cascade = parse_cascade(f"{HEAD}ranks: {{m: x}}\ninputs: {{{names}}}\neinsums:\n  - {line}\n")
    return execute(cascade, {"m": len(next(iter(inputs.values())))}, inputs)["Z"]


def test_every_unary_function_is_tested_here() -> None:
    assert set(DEFINITIONS) == {name for name, function in FUNCTIONS.items() if function.arity == 1}


@pytest.mark.parametrize("name", sorted(DEFINITIONS))
def test_unary_functions_equal_their_definition(name: str) -> None:
    x = np.array([0.25, 1.0, 3.5, 20.0]) if name in {"log", "sqrt"} else np.array([-5.0, -0.5, 0.25, 3.0])
    found = single(f"Z[m] = {name}(X[m])", X=x)
    np.testing.assert_allclose(found, [DEFINITIONS[name](value) for value in x.tolist()], rtol=1e-14)


def test_sigmoid_and_elu_do_not_overflow() -> None:
    x = np.array([-1e4, 1e4])
    np.testing.assert_array_equal(single("Z[m] = sigmoid(X[m])", X=x), [0.0, 1.0])
    np.testing.assert_array_equal(single("Z[m] = elu(X[m])", X=x), [-1.0, 1e4])


def test_comparisons_give_zero_or_one() -> None:
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for symbol, expected in ((">=", [0, 1, 1]), (">", [0, 0, 1]), ("<=", [1, 1, 0]), ("<", [1, 0, 0])):
        np.testing.assert_array_equal(single(f"Z[m] = X[m] {symbol} Y[m]", X=x, Y=y), expected)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_kth_is_the_kth_largest_over_several_axes(k: int) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    found = reduce_axes("kth", values, (3, 0), k)
    ordered = np.sort(np.moveaxis(values, (1, 2), (0, 1)).reshape(3, 4, -1), axis=-1)
    np.testing.assert_array_equal(found, ordered[:, :, -k])


def test_reductions_apply_left_to_right() -> None:
    text = HEAD + (
        "ranks: {a: x, b: x, c: x}\ninputs: {X: [a, b, c], Y: [a]}\n"
        "einsums:\n  - Z[b] = X[a,b,c] * Y[a] :max(c)\n  - W[b] = X[a,b,c] * Y[a] :max(c) :sum(a)\n"
    )
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=2)
    found = execute(parse_cascade(text), {"a": 2, "b": 3, "c": 4}, {"X": x, "Y": y})
    product = x * y[:, None, None]
    np.testing.assert_allclose(found["Z"], product.sum(axis=0).max(axis=1))
    np.testing.assert_allclose(found["W"], product.max(axis=2).sum(axis=0))


def test_a_recurrence_of_two_tensors_runs_in_order() -> None:
    text = HEAD + (
        "ranks: {t: steps, c: x}\ninputs: {X: [t, c], G: [t]}\n"
        "carried: {S: {rank: t, initial: 1}, H: {rank: t, initial: 0}}\n"
        "einsums:\n  - U[t,c] = G[t] * S[t,c] + H[t,c]\n  - S[t+1,c] = U[t,c] + X[t,c]\n"
        "  - H[t+1,c] = S[t+1,c] - S[t,c]\n  - Y[t,c] = S[t+1,c] * H[t,c]\n  - Z[c] = S[last,c] + H[last,c]\n"
        "outputs: [Y, Z]\n"
    )
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(5, 2)), rng.normal(size=5)
    found = execute(parse_cascade(text), {"t": 5, "c": 2}, {"X": x, "G": g})
    s, h = np.ones(2), np.zeros(2)
    for step in range(5):
        s_next = g[step] * s + h + x[step]
        np.testing.assert_allclose(found["Y"][step], s_next * h)
        s, h = s_next, s_next - s
    np.testing.assert_allclose(found["Z"], s + h)
    assert found["S"].shape == (6, 2)


def test_a_carried_tensor_that_is_no_recurrence_is_a_shift() -> None:
    text = HEAD + (
        "ranks: {t: steps}\ninputs: {X: [t]}\ncarried: {S: {rank: t, initial: 7}}\n"
        "einsums:\n  - S[t+1] = 2 * X[t]\n  - Z[t] = S[t] + X[t]\n"
    )
    found = execute(parse_cascade(text), {"t": 4}, {"X": np.arange(4.0)})
    np.testing.assert_array_equal(found["Z"], [7.0, 1.0, 4.0, 7.0])


def test_execution_is_repeatable_and_leaves_its_inputs_alone() -> None:
    cascade = load_cascade("matmul")
    rng = np.random.default_rng(0)
    inputs = {"A": rng.normal(size=(3, 5)), "W": rng.normal(size=(5, 2))}
    before = {name: array.copy() for name, array in inputs.items()}
    sizes = {"m": 3, "n": 2, "k": 5}
    first, second = (execute(cascade, sizes, inputs)["Z"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for name, array in before.items():
        np.testing.assert_array_equal(inputs[name], array)
