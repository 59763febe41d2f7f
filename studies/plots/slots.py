"""Where grouped bars stand: groups side by side, blocks of groups under a common name, the mean set apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.studies.plots.marks import note, points_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from dse.studies.plots.look import Look

MEANS = ("geomean", "mean")
_GROUP_GAP, _BLOCK_GAP, _MEAN_WIDTH = 0.9, 0.7, 2.0  # in widths of a bar
_NAME_PT, _BLOCK_PT, _WIDEST_BAR_PT = 6.5, 7.5, 22.0
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """Left edge and bar width of every group; coordinates count ordinary bars."""

    keys: tuple[Key, ...]
    bars: int
    lefts: tuple[float, ...]
    widths: tuple[float, ...]
    end: float

    @classmethod
    def of(cls, keys: Sequence[Key], bars: int) -> Slots:
        """Slots for groups in the given order, each with so many bars; a mean gets wider bars."""
        lefts, widths = [], []
        x = _GROUP_GAP / 2
        for i, key in enumerate(keys):
            if i:
                x += _GROUP_GAP + (_BLOCK_GAP if _apart(keys[i - 1], key) else 0.0)
            lefts.append(x)
            widths.append(_MEAN_WIDTH if key[0] in MEANS and len(keys) > 1 else 1.0)
            x += bars * widths[-1]
        return cls(tuple(keys), bars, tuple(lefts), tuple(widths), x + _GROUP_GAP / 2)

    def centres(self) -> list[float]:
        """Middle of every group."""
        return [left + self.bars * width / 2 for left, width in zip(self.lefts, self.widths, strict=True)]

    def limits(self, ax: Axes) -> tuple[float, float]:
        """Ends of the axis; a few bars keep to its middle rather than fill it."""
        spare = max(0.0, points_of(ax)[0] / _WIDEST_BAR_PT - self.end) / 2
        return -spare, self.end + spare

    def pitch(self, ax: Axes) -> float:
        """Width of an ordinary bar on paper, in points."""
        low, high = self.limits(ax)
        return points_of(ax)[0] / (high - low)

    def blocks(self) -> Iterator[tuple[Key, int, int]]:
        """Consecutive groups that differ in their last part: what they share, first and last position."""
        start = 0
        for i, key in enumerate(self.keys):
            if i + 1 == len(self.keys) or _apart(key, self.keys[i + 1]):
                yield _block(key), start, i
                start = i + 1


def _apart(one: Key, other: Key) -> bool:
    return one[:-1] != other[:-1] or (one[0] in MEANS) != (other[0] in MEANS)


def _block(key: Key) -> Key:
    return key if key[0] in MEANS and len(key) > 1 else key[:-1]


def keys_of(frame: pd.DataFrame, groups: Sequence[str]) -> list[Key]:
    """The groups of a tidy table in the order of their first rows, means last."""
    found = list(dict.fromkeys(zip(*(frame[name].tolist() for name in groups), strict=True)))
    return [key for key in found if key[0] not in MEANS] + [key for key in found if key[0] in MEANS]


def label_groups(ax: Axes, slots: Slots, look: Look, drop: float = 0.0, *, bare: bool = False) -> None:
    """Name groups by their last part under the axis, and blocks by the rest below; ``drop`` points lower.

    ``bare`` draws the separators only.
    """
    texts = [look.label(key[-1]) if key[0] not in MEANS or len(key) == 1 else "" for key in slots.keys]
    rooms = [(slots.bars * width + _GROUP_GAP) * slots.pitch(ax) for width in slots.widths]
    needs = [len(text) * _NAME_PT * 0.52 for text in texts]
    crowded = any(need > room for need, room in zip(needs, rooms, strict=True))
    widest = max(needs)
    ax.set_xlim(*slots.limits(ax))
    ax.set_xticks([])
    for _, first, _ in slots.blocks():
        if first:
            x = (_end(slots, first - 1) + slots.lefts[first]) / 2
            ax.axvline(x, color="#888888", linewidth=0.5, zorder=1)
    if bare:
        return
    for x, text in zip(slots.centres(), texts, strict=True):
        _below(ax, x, drop + 2.5, text, _NAME_PT, 90 if crowded else 0)
    for block, first, last in slots.blocks():
        middle = (slots.lefts[first] + _end(slots, last)) / 2
        name = str(block[0]) if block[:1] and block[0] in MEANS else look.joined(block)
        room = (_end(slots, last) - slots.lefts[first] + _GROUP_GAP) * slots.pitch(ax)
        _below(ax, middle, drop + (widest if crowded else _NAME_PT) + 4.5, _wrapped(name, room), _BLOCK_PT)


def _wrapped(name: str, room: float) -> str:
    """A name on one line, or a word to a line where it is wider than its room in points."""
    return name if len(name) * _BLOCK_PT * 0.52 <= room else "\n".join(name.split())


def _end(slots: Slots, i: int) -> float:
    return slots.lefts[i] + slots.bars * slots.widths[i]


def _below(ax: Axes, x: float, points: float, text: str, size: float, rotation: float = 0.0) -> None:
    """Text centred so many points under the axis."""
    if text:
        style = {
            "fontsize": size,
            "rotation": rotation,
            "ha": "center",
            "va": "top",
            "annotation_clip": False,
        }
        note(ax, text, (x, 0.0), (0.0, -points), xycoords=("data", "axes fraction"), **style)
