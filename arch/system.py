"""System: devices of several kinds, the links between them, each device with a clock of its own.

Modelled: how many of each device there are, which share the memory of another (processing in the stacks of a GPU),
links with latency, bandwidth and energy, passes of an all-reduce over them. Times of the devices meet in seconds; the
system's own cycles are nanoseconds. Not modelled: hosts, network topology beyond all-to-all, storage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from dse.arch.machine import Array, Machine, MachineFile, Named, load_machine, one_point
from dse.spec import Spec
from dse.units import BytesPerSecond, Hertz, JoulesPerBit, PositiveCount, Seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KIND = "system"
XPU, PIM = "xpu", "pim"


class DeviceFile(Spec):
    """Devices of one kind."""

    machine: str = Field(description="a machine, a shipped name or a path")
    count: PositiveCount
    memory: str | None = Field(default=None, description="device in whose memory they sit; else their own")
    set: dict[str, str] = Field(default_factory=dict, description="values of the machine to replace")


class LinkFile(Spec):
    """A link from each device, in one direction."""

    bandwidth: BytesPerSecond
    latency: Seconds = 0.0
    energy: JoulesPerBit = Field(description="of a bit sent")
    passes: PositiveCount = Field(
        default=2,
        description="of an all-reduce around n devices: passes x (n - 1) transfers of 1/n of the data",
    )
    source: str


class File(MachineFile):
    """A system file."""

    clock: Hertz = Field(default=1e9, description="of the system's cycles; devices keep their own")
    devices: dict[str, DeviceFile] = Field(description="xpu, and pim where there is any")
    links: dict[str, LinkFile] = Field(description="peers, and pim where PIM has memory of its own")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if XPU not in self.devices or not self.devices.keys() <= {XPU, PIM}:
            raise ValueError("devices are xpu and, if any, pim")
        if "peers" not in self.links:
            raise ValueError("links needs peers")
        pim = self.devices.get(PIM)
        if pim is None:
            return self
        if pim.memory not in (None, XPU):
            raise ValueError("devices.pim.memory is xpu or left out")
        if pim.memory is not None and pim.count != self.devices[XPU].count:
            raise ValueError("PIM in the memory of the xpu needs as many devices")
        if pim.memory is None and PIM not in self.links:
            raise ValueError("links needs pim: it has memory of its own")
        return self

    def build(self, name: str) -> System:
        """The machine this file describes."""
        return System(
            **self.identity(name),
            devices={
                key: Device(load_machine(file.machine, file.set), one_point(file.count), file.memory)
                for key, file in self.devices.items()
            },
            links={
                key: Link(
                    one_point(f.bandwidth),
                    one_point(f.latency),
                    one_point(f.energy * 8.0),
                    one_point(f.passes),
                )
                for key, f in self.links.items()
            },
        )


@dataclass(frozen=True)
class Device:
    """Devices of one kind: the machine each is, their number, whose memory they sit in."""

    machine: Machine
    count: Array
    memory: str | None = None


@dataclass(frozen=True)
class Link:
    """A link from each device in one direction."""

    byte_per_s: Array
    latency_s: Array
    j_per_byte: Array
    passes: Array

    def send_s(self, sent_bytes: Array) -> Array:
        """Seconds until what one device sends has arrived."""
        return self.latency_s + sent_bytes / self.byte_per_s

    def all_reduce_s(self, each_bytes: Array, devices: Array) -> Array:
        """Seconds of an all-reduce of ``each_bytes`` on every device, around a ring; none on one device."""
        return self.passes * (devices - 1.0) * self.send_s(each_bytes / devices)


@dataclass(frozen=True)
class System(Named):
    """A system of devices; see the module docstring."""

    devices: Mapping[str, Device]
    links: Mapping[str, Link]

    def scaled_resources(self, factor: float) -> Iterator[tuple[str, System]]:
        """The system with each resource of its devices, and each link, scaled in turn."""
        for key, device in self.devices.items():
            for name, machine in device.machine.scaled_resources(factor):
                scaled = {**self.devices, key: replace(device, machine=machine)}
                yield f"devices.{key}.{name}", replace(self, devices=scaled)
        for key, link in self.links.items():
            faster = {**self.links, key: replace(link, byte_per_s=link.byte_per_s * factor)}
            yield f"links.{key}.bandwidth", replace(self, links=faster)
