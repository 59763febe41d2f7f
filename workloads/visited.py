"""Which tiles each program of a traced launch visited, in order, from a trace that keeps the order of events.

Modelled: tiles of a step that reads or writes one tensor argument as it moves along a rank. Not modelled:
steps counted by trips alone, which have no place in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.errors import TraceError, nearest
from dse.workloads.trace_facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.workloads.annotation import Annotation
    from dse.workloads.trace import Coordinates, Trace


def visited_tiles(
    trace: Trace, annotation: Annotation, label: str, step: str
) -> Mapping[Coordinates, Coordinates]:
    """Where each tile that a step visited starts along its rank, in order, by place of the program.

    Raises
    ------
    TraceError
        If the trace does not keep the order of events, has no such launch or step, or the step has no place.
    """
    if trace.level == "counts":
        raise TraceError("visited tiles need a trace of level events")
    facts = next((item for item in read_facts(trace, annotation) if item.label == label), None)
    if facts is None:
        raise TraceError(f"there is no launch '{label}'{nearest(label, annotation.launches)}")
    note = facts.note.steps.get(step)
    if note is None:
        raise TraceError(f"launch '{label}' has no step '{step}'{nearest(step, facts.note.steps)}")
    argument, kind = (note.loads, "load") if note.loads else (note.stores, "store")
    tensor = facts.note.tensors.get(argument)
    if tensor is None or note.rank not in tensor.ranks:
        raise TraceError(f"step '{step}' does not move along a dimension of a tensor")
    axis = tensor.ranks.index(note.rank)
    return {
        place: tuple(corner[axis] for corner, _ in members.boxes(program, argument, kind))
        if argument in members.anchors
        else ()
        for members in facts.launch.classes
        for program, place in enumerate(members.programs)
    }
