"""Physical accounting of attention on a spatial array: tiles in flight, reduction latency, ports, fill and drain.

Modelled: a loop over tiles whose Einsums form a graph with recurrences, the tiles in flight limited by the registers
or the buffer space they hold; DRAM and buffer ports as units of their own; register-file energy; the first fetch and
the skew before the first product, the last write after. What happens less than once per tile (fetches, the final
division) is spread evenly over the tiles. Not modelled: bank conflicts, DRAM rows, refresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.simulator.arrays import ONE, Array, product, total
from dse.simulator.program import Action, Body, Constraint, Edge, Hold, Loop, Node, Par, Seq, Step
from dse.simulator.spatial_array.actions import (
    bytes_at,
    move_action,
    operation_actions,
    register_actions,
    staging_actions,
)

if TYPE_CHECKING:
    from dse.simulator.spatial_array.mapping import GroupFile
    from dse.simulator.spatial_array.problem import Problem2D
    from dse.simulator.spatial_array.storage import Storage
    from dse.workloads.cascade import Einsum


WINDOW, PORTS, DRAM = "window", "buffer", "dram"
PREFETCHED = np.full(1, 2.0)  # the tile being computed and the next


def physical_tree(problem: Problem2D, storage: Storage) -> Node:
    """All fusion groups, one after another, each with its fill and drain."""
    window = problem.mapping.file.window
    nodes: list[Node] = []
    for i, group in enumerate(problem.mapping.file.groups):
        name = str(i) if len(problem.mapping.file.groups) > 1 else "attention"
        steps = _steps(problem, storage, group)
        body = _tiles(problem, storage, name, steps) if window else _unordered(name, steps)
        nodes += [_fill(problem, storage, name), body, _drain(problem, storage, name)]
    return Seq("attention", tuple(nodes))


def window_constraints(problem: Problem2D) -> tuple[Constraint, ...]:
    """A tile needs its registers."""
    window = problem.mapping.file.window
    if window is None or window.unit is None:
        return ()
    unit = problem.machine.units[window.unit]
    levers = (f"more units.{window.unit}.registers.entries",)
    words = product(float(window.words), problem.heights)
    return (Constraint(f"{window.unit} registers", words, unit.registers, "word", levers),)


def window_tiles(problem: Problem2D, storage: Storage) -> Array:
    """Tiles in flight: what registers or the buffer hold, up to the mapping's own limit."""
    window = problem.mapping.file.window
    assert window is not None
    if window.unit is not None:
        words = product(float(window.words), problem.heights)
        fitting = np.floor(problem.machine.units[window.unit].registers / words)
    else:
        fitting = np.maximum(np.floor(storage.block / problem.tile("p")), 1.0)
    return np.minimum(fitting, float(window.limit)) if window.limit else fitting


def iterations(problem: Problem2D) -> Array:
    """Iterations of the tile loop, all instances: visited pairs of tiles, or query tiles alone."""
    window = problem.mapping.file.window
    tiles = problem.visited if window is not None and "m" in window.ranks else problem.tiles["p"]
    return product(tiles, problem.instances)


def _steps(problem: Problem2D, storage: Storage, group: GroupFile) -> list[Step]:
    """One step for each Einsum, one for all accesses of the buffer, one for all DRAM traffic; totals."""
    einsums = [problem.cascade.einsum(key) for stage in group.stages for key in stage.einsums]
    moves = [move for einsum in einsums for move in storage.moves(einsum)]
    moves += storage.spill_moves(moves)
    actions = [move_action(problem, move) for move in moves]
    steps = []
    for einsum in einsums:
        done = operation_actions(problem, einsum, ()) + register_actions(problem, einsum)
        done += staging_actions(problem, einsum)
        busy = product(problem.busy(einsum), problem.instances)
        steps.append(Step(einsum.name, problem.unit(einsum.name).name, busy, problem.latency(einsum), done))
    buffer = tuple(action for action in actions if action.component == "global_buffer")
    dram = tuple(action for action in actions if action.component == "dram")
    return [
        *steps,
        Step(PORTS, "global_buffer", _port_cycles(problem, buffer), actions=buffer),
        Step(DRAM, "dram", _dram_cycles(problem, bytes_at(dram, "dram")), actions=dram),
    ]


def _port_cycles(problem: Problem2D, actions: tuple[Action, ...]) -> Array:
    """Cycles the pooled ports need: one row for each port and cycle."""
    buffer = problem.machine.memories["global_buffer"]
    return bytes_at(actions, "global_buffer") / buffer.byte_per_cycle(problem.machine.clock_hz)


def _dram_cycles(problem: Problem2D, moved: Array) -> Array:
    return moved / problem.machine.memories["dram"].bandwidth_byte_per_s * problem.machine.clock_hz


def _unordered(name: str, steps: list[Step]) -> Node:
    """Units side by side, each its steps one after another."""
    lanes: dict[str, list[Node]] = {}
    for step in steps:
        lanes.setdefault(step.unit or step.name, []).append(Body(step.name, (step,)))
    return Par(f"{name}.overlap", tuple(Seq(f"{name}.{unit}", tuple(nodes)) for unit, nodes in lanes.items()))


def _tiles(problem: Problem2D, storage: Storage, name: str, steps: list[Step]) -> Node:
    """The loop over tiles: each step's share of one tile, the cascade's dependences, the window.

    A tile's data arrive before it starts, one tile ahead; its slot is free once its buffer accesses are over, too.
    """
    window = problem.mapping.file.window
    assert window is not None
    count, tiles = iterations(problem), window_tiles(problem, storage)
    shares = tuple(_share(step, count) for step in steps)
    einsums = [problem.cascade.einsum(s.name) for s in steps if s.name in problem.mapping_einsums]
    edges = (*_edges(problem, storage, einsums), Edge(DRAM, window.acquire), Edge(window.acquire, PORTS))
    holds = (
        Hold(WINDOW, window.acquire, window.release, tiles),
        Hold("buffer ports", window.acquire, PORTS, tiles),
        Hold("prefetch", DRAM, window.acquire, PREFETCHED),
        *_staging(problem, tiles),
    )
    return Loop(f"{name}.tiles", count, Body(f"{name}.tile", shares, edges), holds)


def _staging(problem: Problem2D, tiles: Array) -> list[Hold]:
    """A value staged between the arrays holds its place until its consumer has taken it, for each tile in flight."""
    found = []
    for tensor in problem.mapping.file.staged:
        consumers = [e.name for e in problem.cascade.einsums if tensor in {o.tensor for o in e.operands}]
        found += [Hold(f"staging {tensor}", tensor, consumer, tiles) for consumer in consumers]
    return found


def _share(step: Step, count: Array) -> Step:
    actions = tuple(
        Action(a.component, a.einsum, a.tensor, a.action, a.count / count, a.bytes / count, a.joules / count)
        for a in step.actions
    )
    return Step(step.name, step.unit, step.busy / count, step.latency, actions)


def _edges(problem: Problem2D, storage: Storage, einsums: list[Einsum]) -> list[Edge]:
    """Dependences between Einsums of a tile; a carried value comes from the same queries' previous key tile."""
    names = {einsum.name for einsum in einsums}
    around = np.minimum(storage.block / problem.tile("p"), problem.tiles["p"])
    found: dict[tuple[str, str, bool], Edge] = {}
    for einsum in einsums:
        for operand in einsum.operands:
            carried = problem.cascade.distance(operand) > 0
            if operand.tensor in names and not (carried and "m" not in problem.window_ranks):
                edge = (
                    Edge(operand.tensor, einsum.name, around)
                    if carried
                    else Edge(operand.tensor, einsum.name)
                )
                found.setdefault((operand.tensor, einsum.name, carried), edge)
    return list(found.values())


def _fill(problem: Problem2D, storage: Storage, name: str) -> Node:
    """First fetch of one query and one key tile, then the skew of the largest array."""
    sizes, width = problem.sizes, storage.value_bytes
    keys = np.minimum(problem.workload.sizes["m"], problem.key_tile)
    queries = np.minimum(sizes["p"], problem.tile("p"))
    first = product(keys + queries, sizes["e"], width)
    skew = [
        total(list(unit.axes.values())) - float(len(unit.axes)) for unit in problem.machine.units.values()
    ]
    longest = skew[0]
    for other in skew[1:]:
        longest = np.maximum(longest, other)
    return Body(f"{name}.fill", (Step(f"{name}.fill", None, _dram_cycles(problem, first) + longest * ONE),))


def _drain(problem: Problem2D, storage: Storage, name: str) -> Node:
    """Last write of one tile of outputs."""
    queries = np.minimum(problem.sizes["p"], problem.tile("p"))
    last = product(queries, problem.sizes["f"], storage.value_bytes)
    return Body(f"{name}.drain", (Step(f"{name}.drain", None, _dram_cycles(problem, last)),))
