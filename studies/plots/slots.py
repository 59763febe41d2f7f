"""Where grouped bars stand: groups side by side, blocks of groups under a common name, the mean set apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from dse.studies.plots.look import Look

MEANS = ("geomean", "mean")
_GROUP_GAP, _BLOCK_GAP, _MEAN_WIDTH = 0.9, 0.7, 2.0  # in widths of a bar
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
                x += _GROUP_GAP + (_BLOCK_GAP if _block(key) != _block(keys[i - 1]) else 0.0)
            lefts.append(x)
            widths.append(_MEAN_WIDTH if key[0] in MEANS and len(keys) > 1 else 1.0)
            x += bars * widths[-1]
        return cls(tuple(keys), bars, tuple(lefts), tuple(widths), x + _GROUP_GAP / 2)

    def centres(self) -> list[float]:
        """Middle of every group."""
        return [left + self.bars * width / 2 for left, width in zip(self.lefts, self.widths, strict=True)]

    def pitch(self, ax: Axes) -> float:
        """Width of an ordinary bar on paper, in points."""
        return points_across(ax) / self.end

    def blocks(self) -> Iterator[tuple[Key, int, int]]:
        """Consecutive groups that differ in their last part only: what they share, first and last position."""
        start = 0
        for i, key in enumerate(self.keys):
            if i + 1 == len(self.keys) or _block(self.keys[i + 1]) != _block(key):
                yield _block(key), start, i
                start = i + 1


def _block(key: Key) -> Key:
    return key if key[0] in MEANS else key[:-1]


def points_across(ax: Axes) -> float:
    """Width of a panel on paper, in points."""
    figure = ax.get_figure()
    assert figure is not None
    return float(ax.get_position().width * figure.get_figwidth() * 72.0)


def keys_of(frame: pd.DataFrame, groups: Sequence[str]) -> list[Key]:
    """The groups of a tidy table in the order of their first rows, means last."""
    found = list(dict.fromkeys(zip(*(frame[name].tolist() for name in groups), strict=True)))
    return [key for key in found if key[0] not in MEANS] + [key for key in found if key[0] in MEANS]


def label_groups(ax: Axes, slots: Slots, look: Look, drop: float = 0.0, *, bare: bool = False) -> None:
    """Name groups by their last part at the ticks, and blocks by the rest below; ``drop`` points lower.

    ``bare`` draws the separators only.
    """
    texts = [look.label(key[-1]) if key[0] not in MEANS else "" for key in slots.keys]
    size = 6.5
    widest = max(len(text) for text in texts) * size * 0.55
    crowded = widest > (slots.bars + _GROUP_GAP) * slots.pitch(ax)
    ax.set_xlim(0.0, slots.end)
    ax.set_xticks(slots.centres(), [""] * len(texts) if bare else texts, rotation=90 if crowded else 0, fontsize=size)
    ax.tick_params(axis="x", length=0, pad=2 + drop)
    below = drop + 3 + (widest if crowded else size) + 2
    means = [key for key in slots.keys if key[0] in MEANS]
    for block, first, last in slots.blocks():
        if first:
            ax.axvline((_end(slots, first - 1) + slots.lefts[first]) / 2, color="#888888", linewidth=0.5, zorder=1)
        if block and not bare:
            middle = (slots.lefts[first] + _end(slots, last)) / 2
            name = block[0] if block in means else ", ".join(str(look.label(part)) for part in block)
            _below(ax, middle, below, str(name))


def _end(slots: Slots, i: int) -> float:
    return slots.lefts[i] + slots.bars * slots.widths[i]


def _below(ax: Axes, x: float, points: float, text: str) -> None:
    """Text centred so many points under the axis."""
    ax.annotate(
        text, (x, 0.0), xycoords=("data", "axes fraction"), xytext=(0, -points), textcoords="offset points",
        ha="center", va="top", fontsize=7.5, annotation_clip=False,
    )  # fmt: skip
