"""Mappings as loop nests: structure, closed-form counts over arrays of candidates, and their lowering to a Program."""

from dse.simulator.loop_nest.lower import lower

__all__ = ["lower"]
