"""Tables over axes: what is put together equals what is built in full, whatever depends on what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse import spec
from dse.arch.machine import read_machine
from dse.errors import ConfigError
from dse.simulator.stack import arrays, structure, take
from dse.studies import grid
from dse.studies.grid import Composed, Split, tabulate
from dse.workloads.load import load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dse.studies.grid import Build, Table
    from dse.yaml_tree import Node

MACHINE = {
    "dram.bandwidth": ["100 GiB/s", "400 GiB/s"],
    "global_buffer.capacity": ["64 KiB", "2 MiB"],
    "global_buffer.row": ["64 B", "1 KiB"],
    "array_2d.shape": ["[64, 64]", "[128, 256]"],
    "array_1d.lanes": ["64", "128"],
    "clock": ["500 MHz", "940 MHz"],
}


@dataclass(frozen=True)
class Toy:
    name: str
    one: np.ndarray
    other: np.ndarray


def check(table: Table[object], build: Build[object], texts: Sequence[Sequence[str]]) -> None:
    """Every combination, in a shuffled order, bit for bit."""
    sizes = [len(axis) for axis in texts]
    places = np.random.default_rng(0).permutation(int(np.prod(sizes)))
    seen = 0
    for positions, value in table.pieces(places):
        for number, position in enumerate(positions):
            codes = np.unravel_index(places[position], sizes)
            alone = build(tuple(axis[int(code)] for axis, code in zip(texts, codes, strict=True)))
            mine = take(value, [number])
            assert structure(mine) == structure(alone)
            assert [a.tobytes() for a in arrays(mine)] == [a.tobytes() for a in arrays(alone)]
            seen += 1
    assert seen == len(places)


@pytest.mark.parametrize("base", ["fusemax", "fusemax_pe64"])
def test_machines_of_many_axes_equal_those_built_one_by_one(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a table of areas that knows some capacities and rows only, which one axis alone does not show."""
    monkeypatch.setattr(grid, "FULL", 8)
    opened, names = read_machine(base), list(MACHINE)
    table = tabulate(
        lambda texts: opened.build(dict(zip(names, texts, strict=True))),
        list(MACHINE.values()),
        [opened.component(name) for name in names],
    )
    assert isinstance(table, Composed)
    assert {factor.axes for factor in table.factors} == {(0,), (1, 2), (3,), (4,), (5,)}
    check(table, lambda texts: opened.build(dict(zip(names, texts, strict=True))), list(MACHINE.values()))


def test_workloads_of_many_axes_equal_those_built_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "FULL", 4)
    axes = {
        "sequence": ["256", "1000", "4K"],
        "batch": ["1", "3"],
        "phase": ["prefill", "decode"],
        "scope": ["attention", "layer"],
        "heads": ["8", "12"],
    }
    names, texts = list(axes), list(axes.values())

    def build(chosen: tuple[str, ...]) -> object:
        return load_workload("bert", dict(zip(names, chosen, strict=True)))

    table = tabulate(build, texts, names)
    assert isinstance(table, Split)
    check(table, build, texts)


def toy(rule: Callable[[float, float, float], tuple[float, float]]) -> Build[object]:
    def build(texts: tuple[str, ...]) -> object:
        one, other = rule(*(float(text) for text in texts))
        return Toy("toy", np.array([one]), np.array([other]))

    return build


RULES = {
    "apart": lambda a, b, _: (a, b),
    "a product": lambda a, b, c: (a * b, c),
    "a maximum": lambda a, b, c: (max(a, b), c),
    "only together": lambda a, b, c: (1.0 if a == b == 7 else 0.0, c),
    "three together": lambda a, b, c: (1.0 if a == b == c == 8 else 0.0, 0.0),
    "not a number": lambda a, b, c: (np.nan if a > b else c, a),
}


@pytest.mark.parametrize("rule", RULES)
def test_hidden_dependences_are_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dependences that no single axis shows; the last one on three axes needs the random combinations."""
    monkeypatch.setattr(grid, "FULL", 8)
    monkeypatch.setattr(grid, "SAMPLES", 5000 if rule == "three together" else 32)
    texts = [[str(k) for k in range(9)]] * 3
    table = tabulate(toy(RULES[rule]), texts, "abc")
    check(table, toy(RULES[rule]), texts)


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_any_pairs_of_axes_may_depend_on_each_other(sizes: list[int], pairs: list[tuple[int, int]]) -> None:
    texts = [[str(k) for k in range(size)] for size in sizes]

    def build(chosen: tuple[str, ...]) -> object:
        numbers = [float(text) + 1.0 for text in chosen]
        own = tuple(np.array([number]) for number in numbers)
        mixed = tuple(np.array([numbers[a % len(numbers)] * numbers[b % len(numbers)]]) for a, b in pairs)
        return (own, mixed)

    check(tabulate(build, texts, range(len(sizes))), build, texts)


def test_problems_of_all_values_come_together() -> None:
    opened = read_machine("fusemax")
    texts = [["1 MiB", "1 Mi", "2"], ["10 GiB/s", *(f"{k} GiB/s" for k in range(11, 600)), "fast"]]
    with pytest.raises(ConfigError) as caught:
        tabulate(
            lambda t: opened.build({"global_buffer.capacity": t[0], "dram.bandwidth": t[1]}), texts, "ab"
        )
    assert len(caught.value.problems) >= 2


def test_a_pair_of_extremes_that_is_refused_is_an_error() -> None:
    """More queries than keys under a causal mask: no text is wrong alone."""
    texts = [[str(k) for k in range(1000, 1040)], [str(k) for k in range(500, 540)]]
    texts[0][7], texts[1][3] = "600", "700"

    def build(chosen: tuple[str, ...]) -> object:
        return load_workload("bert", {"sequence": chosen[0], "queries": chosen[1], "causal": "true"})

    with pytest.raises(ConfigError, match="cannot be causal"):
        tabulate(build, texts, ["sequence", "queries"])


def quantities(node: Node, above: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every number with a unit in a file."""
    for key, child in node.value.items() if isinstance(node.value, dict) else ():
        path = f"{above}.{key}".removeprefix(".")
        if isinstance(child.value, str) and re.fullmatch(r"[0-9.]+ [A-Za-z][A-Za-z0-9/]*", child.value):
            yield path, child.value
        yield from quantities(child, path)


def doubled(text: str) -> str:
    number, unit = text.split()
    return f"{float(number) * 2:g} {unit}"


KINDS = {name: path for name, path in spec.shipped("arch").items() if "/" not in name}
FIRST = {read_machine(path).schema: name for name, path in reversed(KINDS.items())}


@pytest.mark.parametrize("name", sorted(FIRST.values()))
def test_machines_of_every_kind_can_be_put_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to five numbers of each kind of machine varied at once, whatever the kind makes of them."""
    monkeypatch.setattr(grid, "FULL", 4)
    opened = read_machine(name)
    axes: dict[str, list[str]] = {}
    for path, text in quantities(opened.document.root):
        if not path.startswith("sweep") and len(axes) < 5:
            try:
                opened.build({path: doubled(text)})
            except ConfigError:
                continue
            axes[path] = [text, doubled(text)]

    def build(texts: tuple[str, ...]) -> object:
        return opened.build(dict(zip(axes, texts, strict=True)))

    assert axes
    table = tabulate(build, list(axes.values()), [opened.component(axis) for axis in axes])
    check(table, build, list(axes.values()))
