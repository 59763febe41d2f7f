"""Pruning accelerators: head rows through fetchers, score array, softmax, top-k engines and value array."""

from dse.simulator.spatten.lower import EXTRAS, apart, lower

__all__ = ["EXTRAS", "apart", "lower"]
