"""What a wrong cascade is told: file, line, dotted path, the Einsum, a caret and what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dse.errors import WorkloadError
from dse.workloads.cascade_file import load_cascade, parse_cascade
from tests.workloads.reference import GOOD

if TYPE_CHECKING:
    from pathlib import Path

# What to replace in GOOD, the Einsum it concerns, where the caret stands in it, and the message.
ERRORS = [
    ("R[m,p] + S[m,p]", "R[m,p] + S[x,p]", 1, "S[x", "rank 'x' of 'S[x,p]' is not defined"),
    ("S[m,p] = scale", "S[m,q] = scale", 0, "S[m,q", "rank 'q' of 'S[m,q]' is not defined"),
    ("Q[e,p] * K", "Q[e,m] * K", 0, "Q[e,m", "'Q[e,m]' does not match Q[e,p]"),
    ("Q[e,p] * K", "Q[e] * K", 0, "Q[e]", "'Q' has 2 rank(s), not 1; expected Q[e,p]"),
    ("Q[e,p] * K", "Q[e,e] * K", 0, "Q[e,e", "rank 'e' occurs 2 times in 'Q[e,e]'"),
    ("Q[e,p] * K", "QQ[e,p] * K", 0, "QQ", "tensor 'QQ' is not defined; did you mean 'Q'?"),
    ("Q[e,p] * K", "Q[e+1,p] * K", 0, "Q[e+1", "'e+1' is only for the carried rank of a carried tensor"),
    ("(Q[e,p] * K", "(Z[p] * K", 0, "Z[p]", "the cascade is cyclic: S needs Z needs R needs S"),
    ("= R[last,p]", "= Z[p]", 2, "Z[p]", "the cascade is cyclic: Z needs Z"),
    ("R[m,p] + S[m,p]", "R[m,p] + T[m,p]\n  - T[m,p] = S[m,p] + 1", 1, "T[m", "tensor 'T' is used before"),
    ("Z[p] = R", "S[p] = R", 2, "S[p]", "'S' is already defined by einsums.0"),
    ("Z[p] = R", "Q[p] = R", 2, "Q[p]", "'Q' is an input and cannot be defined again"),
    ("Z[p] = R", "scale[p] = R", 2, "scale", "'scale' is already the name of a rank or a constant"),
    ("Z[p] = R[last,p]", "Z[e,p] = R[last,p]", 2, "Z[e", "output rank 'e' is missing from the operands"),
    ("K[e,m])", "K[e,m]) :max(m)", 0, ":max", "rank 'm' is reduced but stays in the output"),
    ("R[last,p]", "R[last,p] :max(e)", 2, ":max", "reduced rank 'e' is in no operand"),
    ("K[e,m])", "K[e,m]) :sum(e) :max(e)", 0, ":max", "rank 'e' is reduced twice"),
    ("S[m,p] = scale", "S[m+1,p] = scale", 0, "S[m+1", "'S[m+1,p]' carries rank 'm' but"),
    ("R[m+1,p] =", "R[m+2,p] =", 1, "R[m+2", "'R[m+2,p]' must carry one step: m+1"),
    ("Z[p] = R[last,p]", "R[last,p] = Q[e,p]", 2, "R[last", "an output cannot be written at 'last'"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "place", "token", "message"), ERRORS, ids=[row[4] for row in ERRORS])
def test_wrong_einsums_are_shown_with_file_line_path_text_and_caret(
    tmp_path: Path, old: str, new: str, place: int, token: str, message: str
) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(WorkloadError) as caught:
        load_cascade(path)
    found = [str(problem).split("\n") for problem in caught.value.problems if message in problem.message]
    assert len(found) == 1
    (first, shown, caret) = found[0]
    assert first.startswith(f"{path}:{10 + place}: einsums.{place}: {message}")
    column = shown.rindex(token) + (token[0] == ":")
    assert caret == " " * column + "^"


FILE_ERRORS = [
    ("family: test\n", "", "family: this key is missing"),
    ("ranks: {e: depth", "ranks: {unused: x, e: depth", "ranks.unused: 'unused' is never used"),
    ("K: [e, m]}", "K: [e, m], V: [m]}", "inputs.V: 'V' is never used"),
    ("{scale: 2}", "{scale: 2, other: 1}", "constants.other: 'other' is never used"),
    ("{scale: 2}", "{scale: 2, e: 1}", "constants.e: 'e' is already a name under ranks"),
    ("K: [e, m]}", "K: [e, n]}", "inputs.K: rank 'n' is not defined"),
    ("K: [e, m]}", "K: [m, m]}", "inputs.K: rank 'm' occurs 2 times"),
    ("ranks: {e", "ranks: {last: x, e", "ranks.last: 'last' is reserved"),
    ("ranks: {e", "ranks: {a-b: x, e", "ranks.a-b: 'a-b' is not a name"),
    ("R: {rank: m,", "R: {rank: n,", "carried.R: rank 'n' is not defined"),
    ("R: {rank: m,", "R: {rank: p,", "carried.R: its Einsum must define it at [p+1], not as R[m+1,p]"),
    ("{R: {", "{T: {rank: m, initial: 0}, R: {", "carried.T: no Einsum defines 'T'"),
    ("initial: 0", "initial: nan", "carried.R"),
    ("constants", "partition: {w: [m]}\nconstants", "partition.w: a partition has at least two ranks"),
    ("constants", "partition: {w: [m, n]}\nconstants", "partition.w: rank 'n' is not defined"),
    ("constants", "partition: {w: [m, e], v: [e, p]}\nconstants", "partition.v: rank 'e' is already a part"),
    ("einsums", "outputs: [Y]\neinsums", "outputs: no Einsum defines 'Y'"),
    ("einsums", "outputs: [S]\neinsums", "einsums.2: 'Z' is neither read nor an output"),
    ("R[m,p] + S", "R[m,p] + P[p]\n  - P[p] = R[m,p] * S", "einsums.1"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), FILE_ERRORS, ids=[row[2] for row in FILE_ERRORS])
def test_wrong_files_are_refused(old: str, new: str, message: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(WorkloadError) as caught:
        parse_cascade(text, "wrong.yaml")
    assert any(message in str(problem) for problem in caught.value.problems)
    assert all(problem.place and problem.place.file == "wrong.yaml" for problem in caught.value.problems)


def test_all_problems_are_reported_together() -> None:
    text = GOOD.replace("K[e,m])", "K[e,m,m])").replace("R[last,p]", "RR[p]")
    with pytest.raises(WorkloadError) as caught:
        parse_cascade(text)
    assert {problem.path for problem in caught.value.problems} >= {"einsums.0", "einsums.2"}


@pytest.mark.parametrize(
    ("loop", "message"),
    [
        ("R[m+1,p] = R[m,p] + P[p]\n  - P[p] = R[m,p] * S[m,p]", "used before"),
        ("P[p] = R[m,p] * S[m,p]\n  - R[m+1,p] = R[m,p] + P[p]", "needs all of 'm' inside its recurrence"),
        (
            "T[m,p] = S[m,p] * U[m,p]\n  - R[m+1,p] = R[m,p] + T[m,p]\n  - U[m,p+1] = U[m,p] + R[m,p]",
            "over two ranks",
        ),
    ],
)
def test_recurrences_that_no_order_of_one_rank_computes(loop: str, message: str) -> None:
    text = GOOD.replace("R[m+1,p] = R[m,p] + S[m,p]", loop)
    if "U[" in loop:
        text = text.replace("carried: {", "carried: {U: {rank: p, initial: 0}, ")
    with pytest.raises(WorkloadError, match=message):
        parse_cascade(text)
