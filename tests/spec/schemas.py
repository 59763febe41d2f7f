"""Schemas the tests of the loader read; they stand for a machine file."""

from typing import Annotated, Literal

from pydantic import Field

from dse.spec import Spec
from dse.units import AccessEnergy, BytesPerSecond, Count, Hertz, PositiveCount


class Memory(Spec):
    bandwidth: BytesPerSecond
    read: AccessEnergy | None = None
    ports: PositiveCount = 1


class Array(Spec):
    kind: Literal["array"]
    shape: tuple[int, int]


class Lanes(Spec):
    kind: Literal["lanes"]
    lanes: int = Field(gt=0)
    efficiency: float = 1.0


class Machine(Spec):
    kind: Literal["spatial_array", "gpu"]
    clock: Hertz
    title: str = ""
    source: str | None = None
    memories: dict[str, Memory] = {}
    units: dict[str, Annotated[Array | Lanes, Field(discriminator="kind")]] = {}
    flag: bool = False
    limit: Hertz | Literal["auto"] = "auto"
    window: Count = 0
    level: Literal[1, 2] = 1
    notes: list[str] = []
    sweep: dict[str, list[str]] | None = None
