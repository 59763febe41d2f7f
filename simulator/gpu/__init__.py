"""GPUs: kernel launches lowered to a Program by one law of their time."""

from dse.simulator.gpu.lower import lower

EXTRAS = ("requests", "window")

__all__ = ["EXTRAS", "lower"]
