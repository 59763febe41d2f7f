"""Attention in memory (machine kind ``pim``)."""

from dse.simulator.pim.lower import lower

__all__ = ["lower"]
