"""Top-k selection engines by quick-select: closed form, random integers, and traced score streams.

Modelled: rounds of compare, count and compact over what is left of a stream, pivot rules, ties, the depth of the two
result FIFOs and what happens when they overflow, filling and draining, several engines, bypass of requests that keep
everything, and three published latency conventions by name. Not modelled: clock gating, power states.
"""

from dse.simulator.topk.closed_form import expected_cycles, expected_rounds, expected_scanned
from dse.simulator.topk.conventions import CONVENTIONS, Convention, convention
from dse.simulator.topk.parameters import BYPASSES, OVERFLOWS, PIVOTS, TIES, TopK
from dse.simulator.topk.process import Request, Served, serve
from dse.simulator.topk.random_ranks import random_rounds
from dse.simulator.topk.select import Selection, select, top_indices

__all__ = [
    "BYPASSES",
    "CONVENTIONS",
    "OVERFLOWS",
    "PIVOTS",
    "TIES",
    "Convention",
    "Request",
    "Selection",
    "Served",
    "TopK",
    "convention",
    "expected_cycles",
    "expected_rounds",
    "expected_scanned",
    "random_rounds",
    "select",
    "serve",
    "top_indices",
]
