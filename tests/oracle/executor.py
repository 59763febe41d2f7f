"""Brute force: a loop nest executed point by point, with a buffer for every store and every word that moves counted.

Nothing here knows a closed form. Fused Einsums run when somebody needs their values and these are not there; reading a
value that is not complete is an error, so that a nest that passes its checks is seen to compute what it should.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from dse.simulator.loop_nest.nest import REGISTERS, Branch, Group, Keep, Loop, Nest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.simulator.loop_nest.hierarchy import ArrayUnit, Hierarchy
    from dse.simulator.loop_nest.problem import Problem, Shape, Touch

Coord: TypeAlias = tuple[int, ...]
Ranges: TypeAlias = dict[str, tuple[int, int]]
SHARED = ""


@dataclass(eq=False)
class Store:
    """A buffer of one tensor; one without a parent is where the tensor lives."""

    memory: str
    tensor: str
    owner: str
    parent: Store | None = None
    have: set[Coord] = field(default_factory=set)
    dirty: set[Coord] = field(default_factory=set)
    begun: set[Coord] = field(default_factory=set)
    executed: set[Coord] = field(default_factory=set)

    @property
    def root(self) -> Store:
        return self if self.parent is None else self.parent.root


@dataclass
class Element:
    """One element of the array: what it works on, its stores, where it stands on each axis."""

    ranges: Ranges
    stores: dict[str, Store]
    at: dict[str, Coord] = field(default_factory=dict)

    def narrowed(self, rank: str, low: int, high: int, axis: str | None = None, number: int = 0) -> Element:
        at = self.at if axis is None else {**self.at, axis: (*self.at.get(axis, ()), number)}
        return Element({**self.ranges, rank: (low, high)}, dict(self.stores), at)


def cut(bounds: tuple[int, int], tile: int) -> list[tuple[int, int]]:
    low, high = bounds
    return [(start, min(start + tile, high)) for start in range(low, high, tile)]


class Execution:
    """Runs a nest at given tiles; afterwards ``moved`` holds words by (owner, memory, tensor, action)."""

    def __init__(self, problem: Problem, hierarchy: Hierarchy, nest: Nest, tiles: Sequence[int]) -> None:
        self.problem, self.nest, self.units = problem, nest, hierarchy.units
        self.tiles = {key[:3]: tile for key, tile in zip(nest.loops, tiles, strict=True)}
        self.sizes = {rank: int(size[0]) for rank, size in problem.sizes.items()}
        self.moved: Counter[tuple[str, str, str, str]] = Counter()
        self.steps: Counter[str] = Counter()
        self.peak: dict[tuple[int, str, str, str], int] = {}
        self.used: dict[tuple[str, str], int] = {}
        self.iterations = [0] * len(nest.groups)
        self.outermost = hierarchy.names[0]
        self.homes = {name: Store(self.outermost, name, SHARED) for name in problem.tensors}
        self.needed = {shape.name: self._contributions(shape) for shape in problem.shapes}
        for number, group in enumerate(nest.groups):
            whole = {rank: (0, size) for rank, size in self.sizes.items()}
            self._shared(number, group, 0, whole, dict(self.homes))

    def _contributions(self, shape: Shape) -> dict[Coord, set[Coord]]:
        found: dict[Coord, set[Coord]] = {}
        for point in itertools.product(*(range(self.sizes[rank]) for rank in shape.ranks)):
            found.setdefault(self._made(shape, point), set()).add(point)
        return found

    def _made(self, shape: Shape, point: Coord) -> Coord:
        at = dict(zip(shape.ranks, point, strict=True))
        return tuple(at[rank] + (rank == shape.output.carried) for rank in shape.output.spans)

    def _read(self, shape: Shape, touch: Touch, point: Coord) -> list[Coord]:
        """Coordinates read at a point; the initial value of a carried tensor is no word."""
        at, options = dict(zip(shape.ranks, point, strict=True)), []
        for rank in self.problem.ranks_of(touch.tensor):
            if rank == touch.carried and touch.last:
                options.append([self.sizes[rank]])
            elif rank == touch.carried:
                span = touch.spans[rank]
                new = [at[rank] + 1] if span.whole and (span.once == 0 or span.each) else []
                options.append([*([at[rank]] if span.once and at[rank] else []), *new])
            else:
                options.append([at[rank] + offset for offset in range(1 + int(touch.spans[rank].each))])
        return list(itertools.product(*options))

    def _shared(
        self, number: int, group: Group, index: int, ranges: Ranges, stores: dict[str, Store]
    ) -> None:
        if index == len(group.shared):
            self.iterations[number] += 1
            self._iterate(number, group, ranges, stores)
            return
        node = group.shared[index]
        if isinstance(node, Loop):
            for low, high in cut(ranges[node.rank], self.tiles[number, SHARED, index]):
                self._shared(number, group, index + 1, {**ranges, node.rank: (low, high)}, stores)
            return
        outer: Store | None = stores[node.tensor]
        if outer is self.homes[node.tensor] and self._inside(group, node.tensor):
            outer = None
        store = Store(node.memory, node.tensor, SHARED, outer)
        self._shared(number, group, index + 1, ranges, {**stores, node.tensor: store})
        self._closed(number, store)
        self._flush([(Element({}, {}), store)], None)

    def _inside(self, group: Group, tensor: str) -> bool:
        away = set(self.problem.readers(tensor)) - set(group.einsums)
        return tensor in group.einsums and not away and tensor not in self.problem.outputs

    def _iterate(self, number: int, group: Group, ranges: Ranges, stores: dict[str, Store]) -> None:
        """One iteration of the shared loops: Einsums that are needed and can run, in order."""
        self.wants: dict[str, bool] = {}
        self.can: dict[str, bool] = {}
        for branch in group.branches:
            shape = self.problem.shape(branch.einsum)
            if self._wanted(group, shape, ranges, stores) and self._ready(group, shape, ranges, stores):
                start = Element({rank: ranges[rank] for rank in shape.ranks}, dict(stores))
                self._branch(number, branch, 0, [start])

    def _box(self, shape: Shape, ranges: Ranges) -> set[Coord]:
        return set(itertools.product(*(range(*ranges[rank]) for rank in shape.ranks)))

    def _eventually(self, group: Group, shape: Shape, ranges: Ranges, stores: dict[str, Store]) -> bool:
        """Whether its points of this iteration are still to be done, for somebody, now or later."""
        if self._box(shape, ranges) <= stores[shape.name].root.executed:
            return False
        readers = self._readers(group, shape)
        if stores[shape.name].root is self.homes[shape.name] or not readers:
            return True
        return any(self._eventually(group, reader, ranges, stores) for reader, _ in readers)

    def _wanted(self, group: Group, shape: Shape, ranges: Ranges, stores: dict[str, Store]) -> bool:
        """Whether it must run now: a reader runs now, or waits for sums of which this is a part."""
        if shape.name not in self.wants:
            self.wants[shape.name] = self._asked(group, shape, ranges, stores)
        return self.wants[shape.name]

    def _asked(self, group: Group, shape: Shape, ranges: Ranges, stores: dict[str, Store]) -> bool:
        if not self._eventually(group, shape, ranges, stores):
            return False
        readers, box = self._readers(group, shape), self._box(shape, ranges)
        if stores[shape.name].root is self.homes[shape.name] or not readers:
            return True
        for reader, touch in readers:
            if self._eventually(group, reader, ranges, stores):
                asked = {c for p in self._box(reader, ranges) for c in self._read(reader, touch, p)}
                needs = {p for coord in asked for p in self.needed[shape.name][coord]}
                runs = self._wanted(group, reader, ranges, stores) and self._ready(
                    group, reader, ranges, stores
                )
                if runs or not needs <= box:
                    return True
        return False

    def _readers(self, group: Group, shape: Shape) -> list[tuple[Shape, Touch]]:
        """Einsums of the group after this one that read what it makes."""
        later = [self.problem.shape(name) for name in group.einsums[group.einsums.index(shape.name) + 1 :]]
        return [(reader, t) for reader in later for t in reader.inputs if t.tensor == shape.name]

    def _feeds_back(self, group: Group, tensor: str, reader: str) -> bool:
        """Whether a reader comes before the Einsum whose value of the previous step it reads."""
        return group.einsums.index(reader) < group.einsums.index(tensor)

    def _ready(self, group: Group, shape: Shape, ranges: Ranges, stores: dict[str, Store]) -> bool:
        """Whether all it reads is complete, or can be made so within this iteration."""
        if shape.name not in self.can:
            self.can[shape.name] = True  # while it is asked whether what feeds back to it can run
            self.can[shape.name] = self._fed(group, shape, ranges, stores)
        return self.can[shape.name]

    def _fed(self, group: Group, shape: Shape, ranges: Ranges, stores: dict[str, Store]) -> bool:
        for touch in shape.inputs:
            if touch.tensor not in group.einsums or touch.tensor == shape.name:
                continue
            maker = self.problem.shape(touch.tensor)
            there = set(stores[touch.tensor].root.executed)
            if not self._feeds_back(group, touch.tensor, shape.name) and self._ready(
                group, maker, ranges, stores
            ):
                there |= self._box(maker, ranges)
            for point in self._box(shape, ranges):
                for coord in self._read(shape, touch, point):
                    if not self.needed[touch.tensor][coord] <= there:
                        return False
        return True

    def _branch(self, number: int, branch: Branch, index: int, elements: list[Element]) -> None:
        if index == len(branch.nodes):
            self._points(branch, elements)
            return
        node = branch.nodes[index]
        if isinstance(node, Keep):
            self._keep(number, branch, index, node, elements)
            return
        tile = self.tiles[number, branch.einsum, index]
        pieces = [cut(element.ranges[node.rank], tile) for element in elements]
        if node.axis is not None:
            split = [
                element.narrowed(node.rank, *piece, node.axis, place)
                for element, mine in zip(elements, pieces, strict=True)
                for place, piece in enumerate(mine)
            ]
            self._branch(number, branch, index + 1, split)
            return
        for turn in range(max(len(mine) for mine in pieces)):
            active = [
                element.narrowed(node.rank, *mine[turn])
                for element, mine in zip(elements, pieces, strict=True)
                if turn < len(mine)
            ]
            self._branch(number, branch, index + 1, active)

    def _keep(self, number: int, branch: Branch, index: int, node: Keep, elements: list[Element]) -> None:
        inner, opened = [], []
        for element in elements:
            store = Store(node.memory, node.tensor, branch.einsum, element.stores[node.tensor])
            inner.append(Element(element.ranges, {**element.stores, node.tensor: store}, element.at))
            opened.append((element, store))
        self._branch(number, branch, index + 1, inner)
        for _, store in opened:
            self._closed(number, store)
        self._flush(opened, branch)

    def _points(self, branch: Branch, elements: list[Element]) -> None:
        """Remaining points, all elements in step; elements with less to do wait."""
        shape, unit = self.problem.shape(branch.einsum), self.units[branch.unit]
        for axis in unit.axes:
            places = len({element.at.get(axis, ()) for element in elements})
            self.used[shape.name, axis] = max(self.used.get((shape.name, axis), 0), places)
        extents = [max(e.ranges[r][1] - e.ranges[r][0] for e in elements) for r in shape.ranks]
        for offset in itertools.product(*map(range, extents)):
            active = []
            for element in elements:
                point = tuple(element.ranges[r][0] + o for r, o in zip(shape.ranks, offset, strict=True))
                if all(x < element.ranges[r][1] for x, r in zip(point, shape.ranks, strict=True)):
                    active.append((element, point))
            self.steps[shape.name] += 1
            for touch in shape.inputs:
                self._operands(shape, touch, unit, active)
            self._results(shape, unit, active)

    def _operands(
        self, shape: Shape, touch: Touch, unit: ArrayUnit, active: list[tuple[Element, Coord]]
    ) -> None:
        served: set[tuple[object, ...]] = set()
        for element, point in active:
            base = tuple(x for x, r in zip(point, shape.ranks, strict=True) if r in touch.spans)
            apart = _places(element, unit.multicast)
            for coord in self._read(shape, touch, point):
                self._complete(touch.tensor, element.stores[touch.tensor], coord)
                store, key = element.stores[touch.tensor], (coord, base, apart)
                if store.memory == REGISTERS:
                    self._count(shape.name, store, "read")
                    if coord not in store.have:
                        assert store.parent is not None
                        if (id(store.parent), *key) not in served:
                            self._fetch(store.parent, coord)
                            self._count(shape.name, store.parent, "read")
                            served.add((id(store.parent), *key))
                        self._count(shape.name, store, "write")
                        store.have.add(coord)
                elif (id(store), *key) not in served:
                    served.add((id(store), *key))
                    self._fetch(store, coord)
                    self._count(shape.name, store, "read")

    def _results(self, shape: Shape, unit: ArrayUnit, active: list[tuple[Element, Coord]]) -> None:
        merged: set[tuple[object, ...]] = set()
        for element, point in active:
            store, coord = element.stores[shape.name], self._made(shape, point)
            home = store.root
            assert point not in home.executed
            home.executed.add(point)
            key = (id(store), coord, _places(element, unit.reduces))
            if store.memory == REGISTERS:
                self.moved[shape.name, REGISTERS, shape.name, "read"] += bool(shape.reduced)
                self._count(shape.name, store, "write")
                store.have.add(coord)
                store.dirty.add(coord)
            elif key not in merged:
                merged.add(key)
                self._update(shape, store, coord, shape.name)

    def _update(self, shape: Shape, store: Store, coord: Coord, owner: str) -> None:
        """A result, or a part of a sum, arrives at a store: what is there is read first, if anything is."""
        if shape.reduced and coord in store.root.begun:
            self._fetch(store, coord)
            self._count(owner, store, "read")
        self._count(owner, store, "write")
        store.have.add(coord)
        store.dirty.add(coord)
        store.root.begun.add(coord)

    def _fetch(self, store: Store, coord: Coord) -> None:
        """Makes a word present in a store."""
        if coord in store.have or store is self.homes[store.tensor]:
            return
        assert store.parent is not None, f"{store.tensor}{coord} is not in {store.memory}"
        self._fetch(store.parent, coord)
        self._count(store.owner, store.parent, "read")
        self._count(store.owner, store, "write")
        store.have.add(coord)

    def _flush(self, opened: list[tuple[Element, Store]], branch: Branch | None) -> None:
        """Stores close: what was written goes out; parts in registers are added to what is there."""
        merged: set[tuple[object, ...]] = set()
        for element, store in opened:
            if store.parent is None:
                continue
            for coord in sorted(store.dirty):
                self._count(store.owner, store, "read")
                if store.memory != REGISTERS:
                    self._count(store.owner, store.parent, "write")
                    store.parent.have.add(coord)
                    store.parent.dirty.add(coord)
                    continue
                assert branch is not None
                key = (id(store.parent), coord, _places(element, self.units[branch.unit].reduces))
                if key not in merged:
                    merged.add(key)
                    self._update(self.problem.shape(store.tensor), store.parent, coord, store.owner)

    def _closed(self, number: int, store: Store) -> None:
        key = (number, store.owner, store.memory, store.tensor)
        self.peak[key] = max(self.peak.get(key, 0), len(store.have))

    def _complete(self, tensor: str, store: Store, coord: Coord) -> None:
        if tensor in self.needed:
            missing = self.needed[tensor][coord] - store.root.executed
            assert not missing, f"{tensor}{coord} is read before it is complete"

    def _count(self, owner: str, store: Store, action: str) -> None:
        self.moved[owner, store.memory, store.tensor, action] += 1


def _places(element: Element, able: Mapping[str, bool]) -> tuple[tuple[str, Coord], ...]:
    """Where an element stands on the axes that cannot serve all their elements at once."""
    return tuple((axis, place) for axis, place in sorted(element.at.items()) if not able[axis])


def words(moved: Counter[tuple[str, str, str, str]]) -> Iterator[tuple[tuple[str, str, str, str], int]]:
    """Nonzero counts in order."""
    yield from sorted((key, count) for key, count in moved.items() if count)
