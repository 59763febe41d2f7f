"""Attention in memory (machine kind ``pim``)."""

from dse.simulator.pim.lower import lower

EXTRAS = ("window", "requests")

__all__ = ["EXTRAS", "lower"]
