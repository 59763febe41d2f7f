"""Small pieces all figures use: texts at a distance in points, legend entries, the size of a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72.0


def points_of(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel on paper, in points."""
    place, page = ax.get_position(), cast("Figure", ax.get_figure()).get_size_inches()
    return float(place.width * page[0] * POINTS_PER_INCH), float(place.height * page[1] * POINTS_PER_INCH)


def note(
    ax: Axes, text: str, at: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0), **kwargs: object
) -> None:
    """Text ``shift`` points away from ``at``, in data coordinates unless ``xycoords`` says otherwise."""
    options: dict[str, Any] = {"fontsize": 6.5, **kwargs}
    ax.annotate(text, at, xytext=shift, textcoords="offset points", **options)


def entry(label: str, **kwargs: object) -> Artist:
    """A legend entry that looks like a line, a mark or both."""
    from matplotlib.lines import Line2D

    options: dict[str, Any] = {"label": label, **kwargs}
    return Line2D([], [], **options)


def patch(label: str, colour: str, hatch: str, edge: str) -> Artist:
    """A legend entry that looks like a bar."""
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, hatch=hatch, edgecolor=edge, linewidth=0.4, label=label)
