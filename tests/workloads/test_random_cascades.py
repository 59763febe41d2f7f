"""Random cascades: accepted ones equal their definition, damaged ones are refused with a WorkloadError."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import spec
from dse.errors import WorkloadError
from dse.workloads.cascade_file import parse_cascade
from dse.workloads.language import parse_einsum
from dse.workloads.numeric import execute
from dse.workloads.passes import analyse_passes, rank_groups
from dse.workloads.sizes import complete_sizes
from tests.workloads.reference import GOOD, Counting, Elementwise

if TYPE_CHECKING:
    from dse.errors import Problem
    from dse.workloads.cascade import Cascade

NAMES = sorted(spec.shipped("workloads/cascades"))
SIZES = {"a": 2, "b1": 3, "b0": 2, "c": 2}
INPUTS = {"X": ("a", "b1", "b0"), "Y": ("b1", "b0", "c"), "W": ("b1",)}
# Exact on small integers, so that a comparison cannot depend on the order of summation.
JOINS = ("{} * {}", "{} + {}", "max({}, {})", "abs({} - {})", "{} >= {}", "2 * {} - {} / 4")


@dataclass
class Writer:
    """Writes Einsums that are well formed, from what is defined so far."""

    draw: st.DrawFn
    lines: list[str] = field(default_factory=list)
    tensors: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(INPUTS))
    carried: dict[str, str] = field(default_factory=dict)

    def operand(self) -> tuple[str, tuple[str, ...]]:
        name = self.draw(st.sampled_from(sorted(self.tensors)))
        ranks = self.tensors[name]
        rank = self.carried.get(name)
        written = self.draw(st.sampled_from(["", "+1", "last"])) if rank else ""
        shown = [
            "last" if r == rank and written == "last" else r + (written if r == rank else "") for r in ranks
        ]
        left = tuple(r for r in ranks if not (r == rank and written == "last"))
        return f"{name}[{','.join(shown)}]", left

    def reductions(self, ranks: list[str]) -> str:
        text = ""
        for _ in range(self.draw(st.integers(0, len(ranks)))):
            name = self.draw(st.sampled_from([":max({})", ":sum({})", ":min({})", ":kth({}, 1)"]))
            text += " " + name.format(ranks.pop())
        return text

    def einsum(self) -> None:
        (left, some), (right, more) = self.operand(), self.operand()
        available = list(dict.fromkeys((*some, *more)))
        name = f"T{len(self.lines)}"
        output = [rank for rank in available if self.draw(st.booleans())]
        join = self.draw(st.sampled_from(JOINS)).format(left, right)
        ends = self.reductions([rank for rank in available if rank not in output])
        self.lines.append(f"{name}[{','.join(output)}] = {join}{ends}")
        self.tensors[name] = tuple(output)

    def recurrence(self) -> None:
        """A state, updated from an operand through an Einsum that reads the state."""
        operand, ranks = self.operand()
        if not ranks:
            return
        rank = self.draw(st.sampled_from(ranks))
        state, update = f"R{len(self.lines)}", f"U{len(self.lines)}"
        kept = [r for r in ranks if r == rank or self.draw(st.booleans())]
        now, then = ",".join(kept), ",".join(r + "+1" * (r == rank) for r in kept)
        self.lines += [
            f"{update}[{now}] = {operand} * {state}[{now}]",
            f"{state}[{then}] = max({update}[{now}], {state}[{now}])",
        ]
        self.carried[state] = rank
        self.tensors |= {state: tuple(kept), update: tuple(kept)}

    def text(self) -> str:
        """The file: only the inputs and ranks that are used."""
        body = " ".join(self.lines)
        inputs = {name: ranks for name, ranks in INPUTS.items() if f"{name}[" in body}
        ranks = dict.fromkeys(rank for used in inputs.values() for rank in used)
        parts = "partition: {b: [b1, b0]}" if "b0" in ranks else ""
        return "\n".join(
            [
                "assumes: [x]\nsource: x\nfamily: x\ntitle: x",
                "ranks: {" + ", ".join(f"{rank}: x" for rank in ranks) + "}",
                parts,
                "inputs: {" + ", ".join(f"{n}: [{', '.join(r)}]" for n, r in inputs.items()) + "}",
                "carried: {"
                + ", ".join(f"{n}: {{rank: {r}, initial: 0}}" for n, r in self.carried.items())
                + "}",
                "einsums:",
                *(f"  - {line}" for line in self.lines),
                "",
            ]
        )


@st.composite
def files(draw: st.DrawFn) -> str:
    writer = Writer(draw)
    for kind in draw(st.lists(st.sampled_from(["plain", "plain", "carried"]), min_size=1, max_size=5)):
        writer.recurrence() if kind == "carried" else writer.einsum()
    if not writer.lines:
        writer.einsum()
    return writer.text()


def check_everything(cascade: Cascade) -> None:
    """A cascade that is accepted can be executed, counted and analysed."""
    full = complete_sizes(cascade, {rank: SIZES[rank] for rank in cascade.ranks})
    sizes = {rank: int(size[0]) for rank, size in full.items()}
    rng = np.random.default_rng(0)
    shapes = {name: [sizes[rank] for rank in ranks] for name, ranks in cascade.inputs.items()}
    inputs = {name: rng.integers(-2, 3, size=shape).astype(np.float64) for name, shape in shapes.items()}
    values = execute(cascade, sizes, inputs)
    definition = Elementwise(cascade, sizes, inputs)
    counts = cascade.operation_counts(full)
    carried = {name: item.rank for name, item in cascade.carried.items()}
    for einsum in cascade.einsums:
        expected = tuple(sizes[index.rank] + index.offset for index in einsum.output.indices)
        assert values[einsum.name].shape == expected
        for place in np.ndindex(expected):
            np.testing.assert_allclose(
                values[einsum.name][place], definition.value(einsum.name, place), rtol=1e-12
            )
        counted = Counting(einsum, sizes).counts
        assert {key: float(value[0]) for key, value in counts[einsum.name].items()} == dict(counted)
        assert parse_einsum(str(einsum), carried) == einsum
    for group in rank_groups(cascade):
        check_passes(cascade, group)


def check_passes(cascade: Cascade, group: tuple[str, ...]) -> None:
    """A group is analysed; it is refused only if an inner rank, of it or of the level above, is carried."""
    try:
        found = analyse_passes(cascade, group)
    except WorkloadError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert found.group == group
        assert 0 <= found.passes <= len(cascade.einsums)
    if refusal:
        assert "carries a rank through a barrier" in refusal
        inner = {*group[1:], *(rank for parts in cascade.partition.values() for rank in parts[1:])}
        assert inner & {item.rank for item in cascade.carried.values()}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(files())
def test_random_cascades_run_count_and_analyse(text: str) -> None:
    check_everything(parse_cascade(text))


@settings(max_examples=60, deadline=None)
@given(files(), st.permutations(["a", "b1", "b0", "c"]))
def test_any_rank_group_is_analysed_or_refused(text: str, order: list[str]) -> None:
    cascade = parse_cascade(text)
    check_passes(cascade, tuple(rank for rank in order if rank in cascade.ranks))


def test_a_recurrence_across_a_barrier_is_refused() -> None:
    text = GOOD.replace("S[m,p] = scale * (Q[e,p] * K[e,m])", "S[m] = T[m,p]")
    text = text.replace("S[m] =", "T[m,p] = scale * (Q[e,p] * K[e,m]) - R[m]\n  - S[m] =")
    text = text.replace("R[m+1,p] = R[m,p] + S[m,p]", "R[m+1] = R[m] + S[m]")
    text = text.replace("Z[p] = R[last,p]", "Z[] = R[last]")
    cascade = parse_cascade(text)
    assert analyse_passes(cascade, ("m", "p")).passes == 1
    with pytest.raises(WorkloadError, match="the passes grow with its size"):
        analyse_passes(cascade, ("p", "m"))


WORDS = st.sampled_from(
    [
        *[
            "Q[e,p]",
            "K[e,m]",
            "S[m,p]",
            "R[m,p]",
            "R[m+1,p]",
            "R[last,p]",
            "T[]",
            "Z[p]",
            "S[m,q]",
            "X",
            "scale",
            "2",
        ],
        *["=", "=", "=", "*", "+", "-", "exp(", ")", ",", ":max(m)", ":kth(m, 2)", "foo("],
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(WORDS, max_size=8).map(" ".join), min_size=1, max_size=4))
def test_wrong_cascades_are_refused_with_every_problem_placed(lines: list[str]) -> None:
    text = GOOD + "".join(f"  - '{line}'\n" for line in lines)
    problems = refusal(text)
    assert all(problem.place and problem.place.line for problem in problems)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(0, 10_000),
    st.text(alphabet="[](),:=+-*/ mpke10\n{}", max_size=3),
    st.booleans(),
)
def test_damaged_files_are_refused_or_still_good(name: str, at: int, text: str, replace: bool) -> None:
    original = spec.find(name, "workloads/cascades").read_text()
    at %= len(original)
    problems = refusal(original[:at] + text + original[at + (len(text) if replace else 0) :])
    assert all(problem.place for problem in problems)


def refusal(text: str) -> tuple[Problem, ...]:
    """Problems of a file, none if it is accepted; any other exception fails the test."""
    try:
        parse_cascade(text)
    except WorkloadError as error:
        return error.problems
    return ()
