"""Lowering of a workload to a system of devices, or to one roofline device."""

from dse.simulator.system.lower import lower

EXTRAS = ("experts", "requests", "window")

__all__ = ["EXTRAS", "lower"]
