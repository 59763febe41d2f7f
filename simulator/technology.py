"""Energies and areas carried from one technology node to another, by the published rule in a table.

Modelled: energy of switching logic at each node's nominal supply, and area of logic, as ratios between
nodes; the rule and its sources are in ``arch/tables/technology.yaml``. Between two nodes of the table both
follow a power law of the feature size. Not modelled: supplies other than nominal, leakage, memory arrays that
shrink less than logic, and whatever leaves the chip: the energy of a DRAM access belongs to its interface and
does not scale with logic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from dse import spec
from dse.errors import ConfigError, DseError
from dse.simulator.arrays import Array, Values, as_array
from dse.units import format_quantity, parse_quantity

ROOM = "arch/tables"
TABLE = "technology"
OFF_CHIP = ("dram",)
# Feature sizes that differ by rounding are the same node.
_SAME = 1e-9


class NodeFile(spec.Spec):
    """One technology node of the table."""

    device: str = Field(description="kind of transistor")
    supply_volts: float = Field(gt=0, description="nominal supply")
    energy: Annotated[list[float], Field(min_length=3, max_length=3)] = Field(
        description="coefficients of the square of the supply, of the supply, and of one"
    )
    area: float = Field(gt=0, description="area of the same logic, relative to any one node")

    def switching(self, supply_volts: float) -> float:
        """Energy of one switching operation at a supply, in the table's arbitrary unit."""
        square, linear, constant = self.energy
        return square * supply_volts**2 + linear * supply_volts + constant


class TechnologyFile(spec.Spec):
    """A rule for scaling between nodes, and where it comes from."""

    title: str
    source: str
    verified: list[str] = Field(description="what the numbers were checked against")
    notes: list[str] = Field(default_factory=list)
    nodes: dict[str, NodeFile] = Field(min_length=2, description="by feature size, such as 45 nm")

    @field_validator("nodes")
    @classmethod
    def _sizes(cls, nodes: dict[str, NodeFile]) -> dict[str, NodeFile]:
        sizes = set()
        for name, node in nodes.items():
            size = _size_m(name)
            if size in sizes or size <= 0 or node.switching(node.supply_volts) <= 0:
                raise ValueError(f"{name} needs a feature size of its own and a positive energy")
            sizes.add(size)
        return nodes


@dataclass(frozen=True)
class Scaling:
    """A rule as arrays over its nodes, smallest first: logarithms of feature size, energy and area."""

    title: str
    source: str
    log_node: Array
    log_energy: Array
    log_area: Array

    @property
    def range_m(self) -> tuple[float, float]:
        """Smallest and largest feature size the rule covers."""
        return float(np.exp(self.log_node[0])), float(np.exp(self.log_node[-1]))


@cache
def load_scaling(name: str = TABLE) -> Scaling:
    """The rule in a table of ``arch/tables``.

    Raises
    ------
    ConfigError
        No such table, or a wrong one.
    """
    file = spec.load(name, TechnologyFile, ROOM)
    rows = sorted(((_size_m(key), node) for key, node in file.nodes.items()), key=itemgetter(0))
    return Scaling(
        title=file.title,
        source=file.source,
        log_node=np.log([size for size, _ in rows]),
        log_energy=np.log([node.switching(node.supply_volts) for _, node in rows]),
        log_area=np.log([node.area for _, node in rows]),
    )


def energy_factor(from_m: Values, to_m: Values) -> Array:
    """Energy of the same logic at node ``to_m`` over that at ``from_m``, both at nominal supply; shape (n,).

    Raises
    ------
    DseError
        A feature size outside the table.
    """
    rule = load_scaling()
    return _factor(rule, rule.log_energy, from_m, to_m)


def area_factor(from_m: Values, to_m: Values) -> Array:
    """Area of the same logic at node ``to_m`` over that at ``from_m``; shape (n,).

    Raises
    ------
    DseError
        A feature size outside the table.
    """
    rule = load_scaling()
    return _factor(rule, rule.log_area, from_m, to_m)


def _size_m(name: str) -> float:
    try:
        return parse_quantity(name, "m").value
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _factor(rule: Scaling, values: Array, from_m: Values, to_m: Values) -> Array:
    ratio: Array = np.exp(_at(rule, values, to_m) - _at(rule, values, from_m))
    return ratio


def _at(rule: Scaling, values: Array, node_m: Values) -> Array:
    """Logarithm of a quantity at nodes, a straight line between the table's neighbours."""
    nodes = as_array(node_m)
    low, high = rule.range_m
    inside = (nodes >= low * (1 - _SAME)) & (nodes <= high * (1 + _SAME))
    if not inside.all():
        wrong = format_quantity(float(nodes[int(inside.argmin())]), "m")
        covered = f"{format_quantity(low, 'm')} to {format_quantity(high, 'm')}"
        raise DseError(f"{wrong} is outside the nodes the scaling rule covers, {covered} ({rule.title})")
    found: Array = np.interp(np.log(nodes), rule.log_node, values)
    return found
