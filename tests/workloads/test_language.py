"""The Einsum notation: what it means, that it prints back to itself, and what its errors say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import Place, WorkloadError
from dse.workloads.cascade import Access, Call, Constant, Einsum, Expression, Index, Reduction
from dse.workloads.language import MAX_OPERATORS, parse_einsum
from dse.workloads.operators import FUNCTIONS, INFIX

CARRIED = {"R": "m1"}
CONSTANTS = {"scale": 0.125, "keep": 8.0}


def parse(text: str) -> Einsum:
    return parse_einsum(text, CARRIED, CONSTANTS)


def access(tensor: str, *ranks: str) -> Access:
    return Access(tensor, tuple(Index(rank) for rank in ranks))


def test_absent_ranks_are_summed_in_order_of_appearance() -> None:
    einsum = parse("Z[p] = Q[e,p] * K[e,m1,m0]")
    assert einsum.output == access("Z", "p")
    assert einsum.expression == Call("multiply", (access("Q", "e", "p"), access("K", "e", "m1", "m0")))
    assert einsum.reductions == (Reduction("add", ("e", "m1", "m0")),)
    assert einsum.ranks == ("p", "e", "m1", "m0")


def test_unwritten_sums_come_before_written_reductions() -> None:
    einsum = parse("G[p] = Q[e,p] * K[e,m] :max(m)")
    assert einsum.reductions == (Reduction("add", ("e",)), Reduction("max", ("m",)))
    assert parse("G[p] = X[m1,m0,p] :max(m0) :sum(m1)").reductions == (
        Reduction("max", ("m0",)),
        Reduction("add", ("m1",)),
    )


def test_carried_ranks_and_last() -> None:
    einsum = parse("R[m1+1,p] = max(R[m1,p], L[m1,p])")
    assert einsum.output.indices[0] == Index("m1", 1)
    final = parse("Z[p] = R[last,p] / 2")
    assert final.operands[0].indices == (Index("m1", last=True), Index("p"))
    assert final.ranks == ("p",)


def test_kth_takes_ranks_then_k() -> None:
    (named,) = parse("T[p] = S[m,p] :kth(m, keep)").reductions
    assert named == Reduction("kth", ("m",), Constant("keep", 8.0))
    (literal,) = parse("T[] = S[m,p] :kth(m, p, 3)").reductions
    assert literal == Reduction("kth", ("m", "p"), Constant("3", 3.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Z[] = 1 + 2 * 3", "1 + 2 * 3"),
        ("Z[] = (1 + 2) * 3", "(1 + 2) * 3"),
        ("Z[] = 8 - 2 - 1", "8 - 2 - 1"),
        ("Z[] = 8 - (2 - 1)", "8 - (2 - 1)"),
        ("Z[] = 8 / 2 * 4", "8 / 2 * 4"),
        ("Z[] = 1 + 2 >= 3 * 4", "1 + 2 >= 3 * 4"),
        ("Z[] = 1 < 2", "2 > 1"),
        ("Z[] = 1 <= 2", "2 >= 1"),
        ("Z[] = -scale * 2", "negate(scale) * 2"),
        ("Z[] = 3 - -inf", "3 - -inf"),
        ("Z[]=max(1,exp( 2 ))", "max(1, exp(2))"),
    ],
)
def test_precedence_and_printing(text: str, expected: str) -> None:
    assert str(parse(text)) == f"Z[] = {expected}"


def test_minus_infinity_is_a_constant() -> None:
    assert parse("Z[] = -inf").expression == Constant("-inf", -math.inf)


NAMES = st.sampled_from(["e", "p", "m1", "m0", "f"])
TENSORS = st.builds(
    lambda name, ranks: access(name, *ranks),
    st.sampled_from(["A", "B", "Q2", "x_y"]),
    st.lists(NAMES, max_size=3, unique=True),
)
NUMBERS = st.one_of(
    st.floats(0, 1e30, allow_nan=False).map(lambda value: Constant(repr(value), value)),
    st.floats(0, 1e30, allow_nan=False).map(lambda value: Constant(f"-{value!r}", -value)),
    st.sampled_from([Constant(name, value) for name, value in CONSTANTS.items()]),
)


def _calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    operators = [*INFIX.values(), *FUNCTIONS.values()]
    return st.sampled_from(operators).flatmap(
        lambda operator: st.tuples(*[inner] * operator.arity).map(lambda parts: Call(operator.name, parts))
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(TENSORS | NUMBERS, _calls, max_leaves=8)


@st.composite
def einsums(draw: st.DrawFn) -> Einsum:
    expression = draw(EXPRESSIONS)
    everything = Einsum(access("Z"), expression).ranks
    order = draw(st.permutations(everything))
    kept = draw(st.integers(0, len(order)))
    output = access("Z", *order[:kept])
    reductions = []
    left = list(Einsum(output, expression).reduced)
    while left:
        ranks = tuple(left[: draw(st.integers(1, len(left)))])
        left = left[len(ranks) :]
        operator = draw(st.sampled_from(["add", "max", "min", "kth"]))
        argument = Constant("keep", 8.0) if operator == "kth" else None
        reductions.append(Reduction(operator, ranks, argument))
    return Einsum(output, expression, tuple(reductions))


@settings(max_examples=150, deadline=None)
@given(einsums())
def test_printing_and_parsing_is_the_identity(einsum: Einsum) -> None:
    printed = str(einsum)
    found = parse(printed)
    assert found == einsum
    assert str(found) == printed


ERRORS = [
    ("QK[m] = Q[e,m] ** K[e,m]", "**", 1, "unexpected '*'; expected '(', '-', a name or a number"),
    ("QK[m] Q[e,m]", "Q[e", 0, "unexpected 'Q'; expected '='"),
    ("QK[m] = ", "", 0, "the text ends here; expected '(', '-', a name or a number"),
    ("QK = Q[m]", "=", 0, "unexpected '='; expected '['"),
    ("A[m] = B[m;n]", ";", 0, "unexpected ';'; expected '+', ',' or ']'"),
    ("A[m] = B[m] $", "$", 0, "unexpected '$'; expected '*', '+', '-', '/', ':reduction(...)', a comparison"),
    ("A[m1-1] = B[m1]", "-", 0, "unexpected '-'; expected '+', ',' or ']'"),
    ("A[m] = exq(B[m])", "exq", 0, "unknown operator 'exq'; did you mean 'exp'?"),
    ("A[m] = zzz(B[m])", "zzz", 0, "unknown operator 'zzz'; known: abs, elu, exp"),
    ("A[m] = max(B[m])", "max", 0, "'max' takes 2 operand(s), not 1"),
    ("A[m] = exp(B[m], B[m])", "exp", 0, "'exp' takes 1 operand(s), not 2"),
    ("A[p] = B[m,p] :mx(m)", "mx", 0, "unknown reduction 'mx'; did you mean 'max'?"),
    ("A[p] = B[m,p] :max()", ")", 0, "unexpected ')'; expected a name or a number"),
    ("A[p] = B[m,p] :kth(m)", "kth", 0, "':kth' takes ranks and then k, as in :kth(m, 8)"),
    ("A[p] = B[m,p] :kth(m, kep)", "kep", 0, "unknown constant 'kep'; did you mean 'keep'?"),
    ("A[p] = B[m,p] :max(4)", "4", 0, "expected a rank, not '4'"),
    ("A[m] = B[m] * scal", "scal", 0, "unknown constant 'scal'; did you mean 'scale'?"),
    ("A[p] = B[last,p]", "last", 0, "'last' reads the final value of a carried tensor; 'B' is not carried"),
    ("A[p] = R[last+1,p]", "last", 0, "'last' takes no offset"),
    ("A[m+1000] = B[m]", "1000", 0, "an offset has at most 3 digits"),
    ("A[m] = B[m] * 1e999", "1e999", 0, "'1e999' is too large for a number"),
    ("A[m] = B[m] > C[m] > D[m]", "> D", 0, "unexpected '>'; expected '+', '-'"),
]


@pytest.mark.parametrize(("text", "token", "shift", "message"), ERRORS, ids=[row[0] for row in ERRORS])
def test_errors_point_into_the_text(text: str, token: str, shift: int, message: str) -> None:
    with pytest.raises(WorkloadError) as caught:
        parse_einsum(text, CARRIED, CONSTANTS, Place("x.yaml", 12), "einsums.3")
    first, shown, caret = str(caught.value).split("\n")
    assert first.startswith(f"x.yaml:12: einsums.3: {message}")
    assert shown == f"    {text}"
    column = text.rindex(token) + shift if token else len(text.rstrip())
    assert caret == " " * (4 + column) + "^"


def test_nesting_and_length_are_bounded() -> None:
    deepest = "Z[] = " + "exp(" * MAX_OPERATORS + "1" + ")" * MAX_OPERATORS
    assert str(parse(deepest)) == deepest
    for text in (
        "Z[] = " + "exp(" * 2000 + "1" + ")" * 2000,
        "Z[] = 1" + "+1" * 2000,
        "Z[] = " + "-" * 2000 + "1",
    ):
        with pytest.raises(WorkloadError, match="more than 64 operators; write two Einsums") as caught:
            parse(text)
        assert max(map(len, str(caught.value).split("\n"))) < 120


PIECES = st.sampled_from(
    [
        *"[](),:=+-*/<>.;$ \n\té",
        *["m", "m1", "last", "inf", "exp", "max", "kth", "sum", "R", "Q", "K", "1", "1e9", ".5", "scale"],
        *["Q[m]", "R[last]", "R[m1+1]", " = ", ":max(m)", ":kth(m,2)", "exp(", "max(Q[m],"],
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30))
def test_any_text_is_an_einsum_or_a_workload_error(text: str) -> None:
    try:
        einsum = parse(text)
    except WorkloadError as error:
        lines = str(error).split("\n")
    else:
        lines = []
        assert parse(str(einsum)) == einsum
    assert len(lines) in {0, 3}
