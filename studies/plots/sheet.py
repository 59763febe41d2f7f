"""The page of a figure: panels in a grid, legends above them, margins measured once, files written.

A figure is exactly as wide as asked (a column or a page of a paper) and as high as its panels need. No state
of the plotting library outlives a call: the style holds inside ``styled``, and no window system is touched.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.transforms import Bbox

STYLE = Path(__file__).parent.parent / "paper.mplstyle"
COLUMN_IN, PAGE_IN = 3.5, 7.0
_PAD_IN = 0.03


@contextmanager
def styled() -> Iterator[None]:
    """Give matplotlib the paper's style over its own defaults; the caller's settings come back after."""
    import matplotlib
    from matplotlib import style

    with matplotlib.rc_context():
        style.use(["default", str(STYLE)])
        yield


class Sheet:
    """A grid of panels of given height on a page of given width, both in inches."""

    def __init__(self, width: float, rows: int, height: float, columns: int = 1) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height, self.rows, self.columns = width, height, rows, columns
        self.figure: Figure = Figure(figsize=(width, rows * (height + 0.5)))
        self._canvas = FigureCanvasAgg(self.figure)
        self.axes: list[Axes] = [
            self.figure.add_axes((0, 0, 1, 1), label=str(i)) for i in range(rows * columns)
        ]
        self._place((0.5, 0.3), 0.5, 0.4, 0.4)

    def _place(
        self, sides: tuple[float, float], gap_x: float, gap_y: float, bottom: float, top: float = 0.0
    ) -> None:
        """Set the size of the page and the place of every panel, from margins in inches."""
        high = bottom + self.rows * self.height + (self.rows - 1) * gap_y + top
        wide = (self.width - sum(sides) - (self.columns - 1) * gap_x) / self.columns
        self.figure.set_size_inches(self.width, high)
        for i, ax in enumerate(self.axes):
            row, column = divmod(i, self.columns)
            x = sides[0] + column * (wide + gap_x)
            y = bottom + (self.rows - 1 - row) * (self.height + gap_y)
            ax.set_position((x / self.width, y / high, wide / self.width, self.height / high))

    def finish(self, ylabel: str, legends: Sequence[Sequence[Artist]]) -> Figure:
        """Add a y label for all panels and the legends above them, and give everything the room it needs."""
        from matplotlib.text import Text

        renderer: RendererAgg = self._canvas.get_renderer()  # type: ignore[no-untyped-call]
        dpi = self.figure.dpi
        over = [self._overhang(ax, renderer) for ax in self.axes]
        label = Text(0, 0, ylabel, rotation=90, figure=self.figure)
        panels = self.rows * self.height + (self.rows - 1) * 0.1
        if label.get_window_extent(renderer).height / dpi > panels + 0.2:
            label.set_text(_halved(ylabel))
        room = label.get_window_extent(renderer).width / dpi + 2 * _PAD_IN
        boxes = [self._legend(handles, renderer) for handles in legends if handles]
        heights = [box.get_window_extent(renderer).height / dpi + 2 * _PAD_IN for box in boxes]
        first, last = over[:: self.columns], over[self.columns - 1 :: self.columns]
        left, right = max(o.x0 for o in first) + room + _PAD_IN, max(o.x1 for o in last) + _PAD_IN
        gap_x = max((o.x0 for i, o in enumerate(over) if i % self.columns), default=0.0)
        gap_x += max((o.x1 for i, o in enumerate(over) if (i + 1) % self.columns), default=0.0) + 2 * _PAD_IN
        upper, lower = over[self.columns :], over[: -self.columns]
        gap_y = (
            max((o.y1 for o in upper), default=0.0) + max((o.y0 for o in lower), default=0.0) + 2 * _PAD_IN
        )
        bottom = max(o.y0 for o in over[-self.columns :]) + _PAD_IN
        top = max(o.y1 for o in over[: self.columns]) + sum(heights) + 2 * _PAD_IN
        self._place((left, right), gap_x, gap_y, bottom, top)
        high = self.figure.get_figheight()
        above = high - _PAD_IN
        for box, height in zip(boxes, heights, strict=True):
            box.set_bbox_to_anchor((0.0, 0.0, 1.0, above / high), transform=self.figure.transFigure)
            above -= height
        middle = bottom + (high - bottom - top) / 2
        place: dict[str, Any] = {"rotation": 90, "va": "center", "ha": "left", "multialignment": "center"}
        self.figure.text(_PAD_IN / self.width, middle / high, label.get_text(), **place)
        return self.figure

    def _overhang(self, ax: Axes, renderer: RendererAgg) -> Bbox:
        """How far labels stick out of a panel on each side, in inches."""
        from matplotlib.transforms import Bbox

        dpi, inner, outer = self.figure.dpi, ax.get_window_extent(renderer), ax.get_tightbbox(renderer)
        assert outer is not None  # only an invisible panel has none
        sides = (inner.x0 - outer.x0, inner.y0 - outer.y0, outer.x1 - inner.x1, outer.y1 - inner.y1)
        return Bbox.from_extents(*(max(0.0, side) / dpi for side in sides))

    def _legend(self, handles: Sequence[Artist], renderer: RendererAgg) -> Legend:
        """A legend centred above the panels with as many columns as the page takes."""
        from matplotlib.legend import Legend

        limit = (self.width - 2 * _PAD_IN) * self.figure.dpi
        for rows in range(1, len(handles) + 1):
            columns = -(-len(handles) // rows)
            by_row = [handle for k in range(columns) for handle in handles[k::columns]]  # it fills by column
            labels = [str(handle.get_label()) for handle in by_row]
            box = Legend(self.figure, by_row, labels, ncols=columns, loc="upper center")
            if columns == 1 or box.get_window_extent(renderer).width <= limit:
                break
        self.figure.legends.append(box)
        return box


def _halved(text: str) -> str:
    """The text on two lines of about the same length."""
    blanks = [i for i, letter in enumerate(text) if letter == " "]
    if not blanks:
        return text
    middle = min(blanks, key=lambda i: abs(i - len(text) / 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"


def files_of(figure: Figure) -> dict[str, bytes]:
    """The figure as PDF and PNG by suffix, the same bytes for the same figure."""
    import io

    vector, pixels = io.BytesIO(), io.BytesIO()
    figure.savefig(vector, format="pdf", metadata={"Creator": "dse", "Producer": None, "CreationDate": None})
    figure.savefig(pixels, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 4})
    return {".pdf": vector.getvalue(), ".png": pixels.getvalue()}
