"""Scaling between technology nodes: the published factors, their interpolation, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse import spec
from dse.errors import ConfigError, DseError
from dse.simulator.technology import (
    ROOM,
    TABLE,
    TechnologyFile,
    area_factor,
    energy_factor,
    load_scaling,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.simulator.arrays import Array

NODES_NM = (180, 130, 90, 65, 45, 32, 20, 16, 14, 10, 7)
# Stillmaker and Baas, Integration 58 (2017), table of area factors: from the row's node to the column's.
PUBLISHED_AREA = """
1 0.34 0.15 0.08 0.053 0.025 0.011 0.01 0.0093 0.0055 0.0032
2.9 1 0.44 0.23 0.16 0.072 0.033 0.03 0.027 0.016 0.0092
6.6 2.3 1 0.53 0.35 0.16 0.075 0.067 0.061 0.036 0.021
12 4.3 1.9 1 0.66 0.31 0.14 0.13 0.12 0.068 0.039
19 6.4 2.8 1.5 1 0.46 0.21 0.19 0.17 0.1 0.059
40 14 6.1 3.3 2.2 1 0.46 0.41 0.38 0.22 0.13
88 30 13 7.1 4.7 2.2 1 0.89 0.82 0.48 0.28
99 34 15 7.9 5.3 2.4 1.1 1 0.91 0.54 0.31
110 37 16 8.7 5.8 2.7 1.2 1.1 1 0.59 0.34
180 63 28 15 9.8 4.5 2.1 1.9 1.7 1 0.58
320 110 48 25 17 7.8 3.6 3.2 2.9 1.7 1
"""
METRES = st.floats(7e-9, 180e-9)


def test_area_factors_are_all_those_published() -> None:
    published = [[float(cell) for cell in line.split()] for line in PUBLISHED_AREA.split("\n") if line]
    for row, source_nm in enumerate(NODES_NM):
        found = area_factor(source_nm * 1e-9, [nm * 1e-9 for nm in NODES_NM])
        assert [float(f"{factor:.2g}") for factor in found] == published[row], source_nm


def test_energy_polynomials_are_those_of_the_authors_corrigendum() -> None:
    """65 nm at 1.3 V has 2.604, 32 nm at 0.9 V has 0.4571: with these rounded, 1 pJ becomes 0.1755 pJ."""
    nodes = spec.load(TABLE, TechnologyFile, ROOM).nodes
    old, new = nodes["65 nm"].switching(1.3), nodes["32 nm"].switching(0.9)
    assert (round(old, 3), round(new, 4)) == (2.604, 0.4571)
    assert new / old == pytest.approx(0.1755, abs=1e-4)


def test_energy_factors_at_nominal_supply() -> None:
    """Worked by hand from the coefficients: 0.8612 at 45 nm and 1.0 V, 0.1384705 at 16 nm and 0.85 V."""
    assert energy_factor(45e-9, 16e-9)[0] == pytest.approx(0.1384705 / 0.8612, rel=1e-12)
    assert energy_factor(65e-9, 45e-9)[0] == pytest.approx(0.8612 / 1.68075, rel=1e-12)


def test_newer_nodes_take_less_energy_and_area() -> None:
    nodes = np.geomspace(7e-9, 180e-9, 500)
    for factor in (energy_factor, area_factor):
        assert np.all(np.diff(factor(45e-9, nodes)) > 0)


@given(METRES, METRES, METRES)
def test_factors_chain(first: float, second: float, third: float) -> None:
    for factor in (energy_factor, area_factor):
        direct = factor(first, third)[0]
        assert factor(first, second)[0] * factor(second, third)[0] == pytest.approx(direct, rel=1e-12)
        assert factor(first, first)[0] == 1.0


@given(st.lists(st.tuples(METRES, METRES), min_size=1, max_size=20))
def test_arrays_give_the_bits_of_single_points(pairs: list[tuple[float, float]]) -> None:
    sources, targets = np.array(pairs).T
    for factor in (energy_factor, area_factor):
        together = factor(sources, targets)
        alone = [factor(source, target)[0] for source, target in pairs]
        assert together.tolist() == alone


@pytest.mark.parametrize("factor", [energy_factor, area_factor])
def test_between_two_nodes_is_a_power_law(factor: Callable[[float, float], Array]) -> None:
    middle = np.sqrt(45e-9 * 32e-9)
    assert factor(45e-9, middle)[0] == pytest.approx(np.sqrt(factor(45e-9, 32e-9)[0]), rel=1e-12)


@pytest.mark.parametrize("wrong", [4e-9, 6.99e-9, 181e-9, 250e-9, 0.0, float("nan")])
def test_nodes_outside_the_table_are_refused(wrong: float) -> None:
    for source, target in ((wrong, 45e-9), (45e-9, [16e-9, wrong])):
        for factor in (energy_factor, area_factor):
            with pytest.raises(DseError, match="outside the nodes the scaling rule covers, 7 nm to 180 nm"):
                factor(source, target)


def test_the_rule_names_its_source() -> None:
    assert "10.1016/j.vlsi.2017.02.002" in load_scaling().source


NODE = "{device: bulk, supply_volts: 1, energy: [1, 0, 0], area: 1}"


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (f"{{45 nm: {NODE}}}", "nodes"),
        (f"{{45 nm: {NODE}, 45: {NODE}}}", "needs a unit"),
        (f"{{45 nm: {NODE}, 0.045 um: {NODE}}}", "0.045 um needs a feature size of its own"),
        (f"{{45 nm: {NODE}, 7 nm: {NODE.replace('[1, 0, 0]', '[1, -2, 0]')}}}", "positive energy"),
        (f"{{45 nm: {NODE}, 7 nm: {NODE.replace('area: 1', 'area: 0')}}}", "must be more than 0"),
    ],
)
def test_wrong_tables_are_refused(nodes: str, message: str) -> None:
    text = f"title: t\nsource: s\nverified: [v]\nnodes: {nodes}\n"
    with pytest.raises(ConfigError, match=message):
        spec.parse(text, TechnologyFile)
