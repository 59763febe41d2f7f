"""Attention in memory (machine kind ``pim``)."""

from dse.simulator.pim.lower import lower

EXTRAS = ("window",)

__all__ = ["EXTRAS", "lower"]
