"""Lowering of attention and dense layers to a spatial array (machine kind ``spatial_array``)."""

from dse.simulator.spatial_array.lower import lower

__all__ = ["lower"]
