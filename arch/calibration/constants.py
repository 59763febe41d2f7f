"""Calibrated constants of a GPU: each with its unit, meaning, interval and the file it was fitted from.

Modelled: constants of the whole machine, and constants of a family of kernels, which win over the machine's. A
constant that a calibration does not name has the value a data sheet implies: no overhead, full overlap, peak rates.
Not modelled: constants that vary with shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, create_model, model_validator

from dse import spec
from dse.errors import ConfigError, nearest
from dse.spec import Spec
from dse.units import BytesPerSecond, Cycles, JoulesPerBit, JoulesPerOp, Seconds, Watts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from numpy.typing import NDArray

ROOM = "arch/calibration"
OWN, NONE = "own", "none"
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(frozen=True, slots=True)
class Constant:
    """What a constant is: its type in files, its value where nothing was calibrated, and its physical meaning."""

    type: Any
    unit: str
    default: float
    meaning: str


CONSTANTS = {
    "launch": Constant(Seconds, "s", 0.0, "first kernel of a sequence: from its launch to its first blocks"),
    "gap": Constant(Seconds, "s", np.nan, "each further kernel: to its first blocks; as launch if not named"),
    "ramp": Constant(Seconds, "s", 0.0, "time until off-chip memory delivers at its rate"),
    "round_trip": Constant(Seconds, "s", 0.0, "one access of a thread block to memory that it waits for"),
    "prologue": Constant(Cycles, "cycle", 0.0, "latency of a thread block beside the work of its tiles"),
    "chain": Constant(Cycles, "cycle", 0.0, "latency of one step of a recurrence beside its work"),
    "tensor_efficiency": Constant(Share, "", 1.0, "share of the tensor cores' peak that products reach"),
    "dram_efficiency": Constant(Share, "", 1.0, "share of the off-chip peak that streams reach"),
    "overlap": Constant(
        Fraction, "", 1.0, "share of the shorter demands of a tile that hides behind the longest"
    ),
    "dram_overlap": Constant(
        Fraction, "", 1.0, "share of off-chip transfers that hides behind a block's work"
    ),
    "masked": Constant(
        Annotated[float, Field(ge=0.0)], "", 0.0, "extra time of a masked tile over a full one"
    ),
    "sm_stream": Constant(BytesPerSecond, "B/s", np.inf, "rate at which one SM can take data in"),
    "idle_power": Constant(Watts, "W", np.nan, "power of a GPU that is clocked up and idle"),
    "tensor_energy": Constant(
        JoulesPerOp, "J/op", np.nan, "energy of one multiply-add, everything on the SM included"
    ),
    "dram_energy": Constant(JoulesPerBit, "J/bit", np.nan, "energy of one bit over the off-chip interface"),
}


@dataclass(frozen=True)
class Calibration:
    """Constants over design points in SI units, those of families under their name; absent ones have defaults.

    ``intervals`` holds the bounds of each fitted constant, ``fitted`` the file it was fitted from, ``rows`` the
    rows of each table it was fitted on, ``machine`` the machine those were measured on.
    """

    name: str = ""
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    families: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False)
    fitted: Mapping[str, str] = field(default_factory=dict, compare=False)
    rows: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict, compare=False)
    machine: str = field(default="", compare=False)

    def get(self, constant: str, family: str = "") -> NDArray[np.float64]:
        """Value of a constant: the family's, else the machine's, else the uncalibrated one."""
        own = self.families.get(family, {}).get(constant)
        if own is not None:
            return own
        found = self.values.get(constant)
        return _DEFAULTS[constant] if found is None else found

    def knows(self, family: str) -> bool:
        """Whether constants were fitted for a family."""
        return family in self.families

    def names(self) -> tuple[str, ...]:
        """Dotted names of all constants: ``launch``, ``prefill.overlap``."""
        inner = [f"{family}.{name}" for family, known in self.families.items() for name in known]
        return (*self.values, *inner)

    def replaced(self, values: Mapping[str, float | NDArray[np.float64]]) -> Calibration:
        """The same with constants set by dotted name, new ones added.

        Raises
        ------
        ConfigError
            There is no such constant.
        """
        own, families = dict(self.values), {name: dict(known) for name, known in self.families.items()}
        for name, value in values.items():
            family, _, constant = name.rpartition(".")
            if constant not in CONSTANTS:
                raise ConfigError(f"no constant '{constant}'{nearest(constant, CONSTANTS)}")
            place = families.setdefault(family, {}) if family else own
            place[constant] = np.atleast_1d(np.asarray(value, dtype=np.float64))
        return replace(self, values=own, families=families)


_DEFAULTS = {name: np.array([constant.default]) for name, constant in CONSTANTS.items()}


def _fitted_file(name: str, constant: Constant) -> Any:  # noqa: ANN401
    """Schema of one constant in a calibration file."""
    return create_model(
        f"{name.title().replace('_', '')}File",
        __base__=_ConstantFile,
        __doc__=f"{constant.meaning}.",
        value=(constant.type, ...),
        low=(constant.type, ...),
        high=(constant.type, ...),
    )


class _ConstantFile(Spec):
    """A fitted constant."""

    meaning: str
    fitted: str = Field(description="file and rows it was fitted from")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, value, high = (getattr(self, key) for key in ("low", "value", "high"))
        if not low <= value <= high:
            raise ValueError(f"value {value:g} is not between low {low:g} and high {high:g}")
        return self


_FIELDS: Any = {name: (_fitted_file(name, constant) | None, None) for name, constant in CONSTANTS.items()}
ConstantsFile: Any = create_model(
    "ConstantsFile", __base__=Spec, __doc__="Fitted constants by name.", **_FIELDS
)


class File(Spec):
    """A calibration file."""

    title: str
    source: str = Field(description="how it was made: command, date, versions")
    machine: str = Field(description="machine whose data sheet it was fitted with")
    notes: list[str] = Field(default_factory=list, description="what to know before trusting a result")
    rows: dict[str, list[list[str]]] = Field(
        default_factory=dict,
        description="rows it was fitted on: for each table, rules on columns one list of which holds",
    )
    constants: ConstantsFile = Field(default_factory=ConstantsFile, description="of the whole machine")
    families: dict[str, ConstantsFile] = Field(default_factory=dict, description="of a family of kernels")

    def build(self, name: str) -> Calibration:
        """The calibration this file describes."""
        values, families = _given(self.constants), {k: _given(f) for k, f in self.families.items()}
        every = values | {f"{family}.{n}": c for family, known in families.items() for n, c in known.items()}
        return Calibration(
            name=name,
            values={n: np.array([c.value]) for n, c in values.items()},
            families={f: {n: np.array([c.value]) for n, c in known.items()} for f, known in families.items()},
            notes=(f"calibrated: {self.title}", *self.notes),
            intervals={n: (c.low, c.high) for n, c in every.items()},
            fitted={n: c.fitted for n, c in every.items()},
            rows=self.rows,
            machine=self.machine,
        )


def _given(file: Any) -> dict[str, Any]:  # noqa: ANN401
    """Constants that a section names."""
    return {name: getattr(file, name) for name in CONSTANTS if getattr(file, name) is not None}


def load_calibration(source: str | Path) -> Calibration:
    """The calibration of a path or shipped name.

    Raises
    ------
    ConfigError
        The file is wrong.
    """
    file = spec.load(source, File, ROOM)
    return file.build(spec.origin(file).stem)


def find_calibration(wanted: str, machine: str) -> Calibration:
    """The calibration a machine file asks for; an empty one for none, and for a machine without its own.

    Raises
    ------
    ConfigError
        The file asked for is wrong or missing.
    """
    if wanted == NONE or (wanted == OWN and machine not in spec.shipped(ROOM)):
        return Calibration()
    return load_calibration(machine if wanted == OWN else wanted)
