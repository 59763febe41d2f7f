"""Small pieces all figures use: texts at a distance in points, legend entries, the size of a panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from dse.studies.quantities import PREFIXES, exponent_of

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

POINTS_PER_INCH = 72.0


def points_of(ax: Axes) -> tuple[float, float]:
    """Width and height of a panel on paper, in points."""
    place, page = ax.get_position(), cast("Figure", ax.get_figure()).get_size_inches()
    return float(place.width * page[0] * POINTS_PER_INCH), float(place.height * page[1] * POINTS_PER_INCH)


def label_decades(axis: Axis, *, prefixes: bool = True) -> None:
    """Label the decades of a log axis as plain text, which draws several times faster than formulas."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value) if prefixes else f"{value:.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """A tick value with an SI prefix; hundredths to hundreds stay plain."""
    exponent = 0 if 0.01 <= abs(value) < 1000.0 else exponent_of(value)
    return f"{value / 10.0**exponent:g} {PREFIXES[exponent]}".rstrip()


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
