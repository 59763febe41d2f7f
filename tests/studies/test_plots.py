from __future__ import annotations

import functools
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from matplotlib.text import Text

from dse.errors import ConfigError
from dse.studies import plots
from dse.studies.plots import bars
from dse.studies.plots.look import COLOURS, Look
from dse.studies.plots.pareto import pareto_front
from dse.studies.plots.shape import Shape
from dse.studies.plots.sheet import Sheet, styled
from tests.studies import fake

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

FULL, PARTS = fake.sweep()
FEW, FEW_PARTS = fake.sweep(workloads=["bert", "xlm"], sequences=[1024, 65536])
PAPER = FULL[FULL["accounting"] == "paper"]
NUMBERS = [
    str(name) for name in FULL.columns if FULL[name].dtype == np.float64 and name not in {"area_m2", "flops"}
]


@functools.cache
def of_paper(kind: str, width: float) -> tuple[Figure, pd.DataFrame]:
    with styled():
        return plots.build(kind, PAPER, PARTS, width, fake.LABELS)


def built(kind: str, results: pd.DataFrame, width: float = 7.0) -> tuple[Figure, pd.DataFrame]:
    if results is PAPER:
        return of_paper(kind, width)
    with styled():
        return plots.build(kind, results, PARTS, width, fake.LABELS)


def hidden(figure: Figure) -> set[int]:
    """Labels of ticks beyond the ends of their axis, which are never drawn."""
    found = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            found |= {id(tick.label1) for tick in ticks if not low <= tick.get_loc() <= high}
    return found


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """All texts of a figure with the room they take, in inches."""
    with styled():
        figure.draw_without_rendering()
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible()]
        shown = [text for text in texts if text.get_text() and id(text) not in hidden(figure)]
        scale = figure.dpi_scale_trans.inverted()
        return [(text.get_text(), text.get_window_extent().transformed(scale)) for text in shown]


def heights(figure: Figure, panel: int, colour: str) -> list[float]:
    """Heights of the bars of one colour in a panel, from left to right."""
    found = []
    for artist in figure.axes[panel].findobj(PathPatch):
        assert isinstance(artist, PathPatch)
        if to_hex(artist.get_facecolor()).upper() == colour and artist.get_clip_on():
            corners = np.asarray(artist.get_path().vertices).reshape(-1, 5, 2)
            found += [(box[0, 0], box[1, 1] - box[0, 1]) for box in corners]
    return [height for _, height in sorted(found)]


@pytest.mark.parametrize("kind", plots.KINDS)
def test_every_kind_writes_pdf_png_and_its_numbers(tmp_path: Path, kind: str) -> None:
    paths = plots.draw(kind, FEW, FEW_PARTS, tmp_path / "figures", labels=fake.LABELS)
    assert [path.name for path in paths] == [f"{kind}.pdf", f"{kind}.png", f"{kind}.csv"]
    pdf, png, csv = (path.read_bytes() for path in paths)
    assert pdf.startswith(b"%PDF")
    assert int.from_bytes(png[16:20], "big") == 1400
    assert b"CreationDate" not in pdf
    assert b"/Type3" not in pdf
    _, data = built(kind, FEW)
    read = pd.read_csv(paths[2])
    assert list(read) == list(data)
    assert len(read) == len(data)
    assert b"paper" in csv


@pytest.mark.parametrize("kind", ["speedup", "energy", "roofline"])
def test_figures_are_the_same_bytes_again(tmp_path: Path, kind: str) -> None:
    first = [path.read_bytes() for path in plots.draw(kind, FEW, FEW_PARTS, tmp_path / "a", 3.5)]
    assert [path.read_bytes() for path in plots.draw(kind, FEW, FEW_PARTS, tmp_path / "b", 3.5)] == first


@pytest.mark.parametrize("width", [3.5, 7.0])
@pytest.mark.parametrize("kind", plots.KINDS)
def test_texts_stay_on_the_page_and_apart(kind: str, width: float) -> None:
    figure, _ = built(kind, PAPER, width)
    found = boxes(figure)
    page = figure.bbox_inches
    assert figure.get_figwidth() == width
    for text, box in found:
        assert box.x0 >= page.x0 - 0.01, text
        assert box.y0 >= page.y0 - 0.01, text
        assert box.x1 <= page.x1 + 0.01, text
        assert box.y1 <= page.y1 + 0.01, text
    for (one, a), (other, b) in itertools.combinations(found, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (across > 0.015 and up > 0.015), f"'{one}' and '{other}' overlap"


def test_speedup_bars_have_the_heights_of_the_table() -> None:
    figure, data = built("speedup", PAPER)
    fusemax = PAPER[PAPER["machine"] == "fusemax"]["speedup"].tolist()
    geomean = math.exp(sum(map(math.log, fusemax)) / len(fusemax))
    drawn = heights(figure, 0, COLOURS[4])
    assert drawn == pytest.approx([*fusemax, geomean], rel=1e-12)
    rows = data[data["series"] == "fusemax"]
    assert rows["speedup"].tolist() == pytest.approx(drawn, rel=1e-12)
    assert rows["workload"].tolist()[-1] == "geomean"
    assert "flat" not in set(data["series"])


def test_mean_can_be_arithmetic() -> None:
    from dse.studies.plots.grouped import speedup

    shape = Shape.of(PAPER)
    with styled():
        _, data = speedup(shape, Look.of(shape), 7.0, mean="mean")
    means = data[data["workload"] == "mean"].set_index("series")["speedup"]
    assert means["fusemax"] == pytest.approx(PAPER[PAPER["machine"] == "fusemax"]["speedup"].mean())


def test_mean_covers_only_what_every_machine_can_run() -> None:
    results = PAPER.copy()
    long = (results["machine"] == "unfused") & (results["sequence"] > 65536)
    results.loc[long, NUMBERS] = math.nan
    _, data = built("speedup", results)
    short = PAPER[(PAPER["machine"] == "fusemax") & (PAPER["sequence"] <= 65536)]["speedup"]
    geomean = data[(data["workload"] == "geomean") & (data["series"] == "fusemax")]["speedup"].item()
    assert geomean == pytest.approx(math.exp(np.log(short).mean()))
    assert data["speedup"].isna().sum() == long.sum()


def test_narrow_page_splits_by_workload_with_a_mean_each() -> None:
    figure, data = built("speedup", PAPER, 3.5)
    assert len(figure.axes) == 4
    assert (data[data["sequence"] == "geomean"]["workload"].unique() == list(fake.MODELS)).all()
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_stacks_add_up_to_the_energy_ratio() -> None:
    figure, data = built("energy", PAPER)
    sums = data[data["workload"] != "mean"].groupby(["workload", "sequence", "series"])["energy_ratio"].sum()
    expected = PAPER.set_index(["workload", "sequence", "machine"])["energy_ratio"].to_dict()
    assert sums.to_dict() == pytest.approx(expected, rel=1e-12)
    mean = data[(data["workload"] == "mean") & (data["series"] == "fusemax")]["energy_ratio"].sum()
    assert mean == pytest.approx(PAPER[PAPER["machine"] == "fusemax"]["energy_ratio"].mean(), rel=1e-12)
    tallest = max(ax.get_ylim()[1] for ax in figure.axes)
    assert tallest > PAPER["energy_ratio"].max()


def test_energy_without_a_baseline_is_per_operation() -> None:
    results = PAPER.drop(columns=["baseline", "speedup", "energy_ratio"])
    figure, data = built("energy", results)
    assert "Energy (pJ/FLOP)" in [text for text, _ in boxes(figure)]
    point = PAPER.iloc[0]
    rows = data[(data["series"] == point["machine"]) & (data["workload"] == point["workload"])]
    total = rows[rows["sequence"] == point["sequence"]]["energy_pj_per_flop"].sum()
    assert total == pytest.approx(point["energy_j"] / point["flops"] * 1e12)


def test_utilization_has_a_panel_for_each_unit_in_use() -> None:
    results = PAPER.assign(**{"utilization.top_k": 0.0})
    figure, data = built("utilization", results)
    assert list(dict.fromkeys(data["unit"])) == ["array_1d", "array_2d"]
    fusemax = PAPER[PAPER["machine"] == "fusemax"]["utilization.array_2d"]
    assert heights(figure, 1, COLOURS[4])[:-1] == pytest.approx(fusemax.tolist())


def test_a_machine_has_one_colour_in_all_figures() -> None:
    shape = Shape.of(FULL)
    look = Look.of(shape, fake.LABELS)
    assert [look.machines[name].colour for name in fake.MACHINES] == list(COLOURS[:5])
    for kind in ("speedup", "utilization"):
        figure, _ = built(kind, PAPER)
        by_label = {patch.get_label(): patch for patch in figure.legends[0].get_patches()}
        colour = to_hex(by_label["+Architecture"].get_facecolor()).upper()
        assert colour == look.machines["fusemax_architecture"].colour


def test_labels_come_from_the_caller() -> None:
    shape = Shape.of(PAPER)
    look = Look.of(shape, {"flat": "FLAT"})
    assert look.label("flat") == "FLAT"
    assert look.label("fusemax_cascade") == "fusemax cascade"
    assert look.label("flat, 16M") == "FLAT, 16M"
    assert look.label(65536) == "64K"


def test_roofline_labels_the_ridge_point_and_plots_every_point() -> None:
    figure, data = built("roofline", PAPER)
    texts = [text for text, _ in boxes(figure)]
    assert "ridge 287 FLOP/B" in texts
    assert "123 TFLOP/s" in texts
    assert "429 GB/s" in texts
    lines = [np.asarray(line.get_xdata(), dtype=np.float64) for line in figure.axes[0].get_lines()]
    drawn = sorted(x for line in lines if len(line) == 6 for x in line.tolist())
    assert drawn == sorted(data["operational_intensity_flop_per_byte"])
    assert len(drawn) == len(PAPER)


def test_roofs_of_several_machines_are_listed() -> None:
    results = PAPER.copy()
    results.loc[results["machine"] == "flat", "peak_flop_per_s"] = 1e15
    figure, _ = built("roofline", results, 3.5)
    texts = [text for text, _ in boxes(figure)]
    assert "FLAT: 1.00 PFLOP/s, 429 GB/s, ridge 2.33 kFLOP/B" in texts
    assert "4 designs: 123 TFLOP/s, 429 GB/s, ridge 287 FLOP/B" in texts


def area_sweep(workloads: list[str]) -> pd.DataFrame:
    rows = [
        fake.row(machine, workload, 262144, "paper", scale)
        | {"array_2d.shape": f"{int(256 * scale)}x{int(256 * scale)}"}
        for workload in workloads
        for machine in ("flat", "fusemax")
        for scale in (1 / 16, 1 / 4, 1.0)
    ]
    return pd.DataFrame(rows)


def test_pareto_marks_the_front_of_every_workload() -> None:
    figure, data = built("pareto", area_sweep(["bert", "xlm"]), 3.5)
    assert data["front"].tolist() == [series.startswith("fusemax") for series in data["series"]]
    texts = [text for text, _ in boxes(figure)]
    assert {"BERT", "XLM", "16x16", "256x256"} <= set(texts)


def test_pareto_of_many_workloads_uses_their_geometric_mean() -> None:
    _, data = built("pareto", PAPER)
    assert len(data) == len(fake.MACHINES)
    latency = PAPER[PAPER["machine"] == "flat"]["latency_s"]
    row = data[data["machine"] == "flat"]
    assert row["latency_s"].item() == pytest.approx(math.exp(np.log(latency).mean()))
    assert row["workloads"].item() == 24


def test_pareto_thins_only_what_would_print_on_the_same_spot() -> None:
    rng = np.random.default_rng(0)
    n = 25_000
    results = pd.DataFrame({"machine": "m", "workload": "w", "chip.size": np.arange(n)})
    results["area_m2"], results["latency_s"] = rng.lognormal(size=n), rng.lognormal(size=n)
    _, data = built("pareto", results, 3.5)
    front = pareto_front(results["area_m2"], results["latency_s"])
    assert data["front"].sum() == front.sum()
    assert front.sum() < len(data) < n


COORDINATES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30)


@given(COORDINATES, st.sets(st.integers(0, 29), max_size=4))
def test_pareto_front_is_what_no_other_point_beats(points: list[tuple[int, int]], gaps: set[int]) -> None:
    x, y = (np.array(values, dtype=np.float64) for values in zip(*points, strict=True))
    y[[i for i in gaps if i < len(y)]] = math.nan
    front = pareto_front(x, y)
    there = [j for j in range(len(x)) if not math.isnan(y[j])]
    for i in range(len(x)):
        beaten = any(x[j] <= x[i] and y[j] <= y[i] and (x[j] < x[i] or y[j] < y[i]) for j in there)
        assert front[i] == (i in there and not beaten)


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=1, max_size=40))
def test_pareto_front_dominates_everything_else(points: list[tuple[float, float]]) -> None:
    x, y = (np.array(values) for values in zip(*points, strict=True))
    front = pareto_front(x, y)
    assert front.any()
    for i in np.flatnonzero(~front):
        assert ((x[front] <= x[i]) & (y[front] <= y[i])).any()
    assert (np.diff(y[front][np.argsort(x[front], kind="stable")]) <= 0).all()


@pytest.mark.parametrize(
    ("kind", "missing"),
    [
        ("speedup", "speedup"),
        ("utilization", "utilization"),
        ("roofline", "peak_flop_per_s"),
        ("roofline", "bandwidth.dram.peak"),
        ("pareto", "area_m2"),
        ("bandwidth", "bandwidth.dram.average"),
    ],
)
def test_missing_column_is_named_and_nothing_written(tmp_path: Path, kind: str, missing: str) -> None:
    results = PAPER.drop(columns=[name for name in PAPER.columns if str(name).startswith(missing)])
    with pytest.raises(ConfigError, match=missing.split(".", maxsplit=1)[0]):
        plots.draw(kind, results, PARTS, tmp_path / "figures")
    assert not list(tmp_path.iterdir())


def test_draw_all_tells_what_it_left_out(tmp_path: Path) -> None:
    paths, omitted = plots.draw_all(FEW.drop(columns="area_m2"), None, tmp_path, 3.5)
    assert set(omitted) == {"energy", "pareto"}
    assert "components" in omitted["energy"]
    assert "area_m2" in omitted["pareto"]
    assert {path.stem for path in paths} == {"speedup", "utilization", "roofline", "bandwidth"}


def test_too_much_for_a_page_is_refused() -> None:
    many = pd.concat([PAPER.assign(batch=i) for i in range(40)])
    with pytest.raises(ConfigError, match="select fewer"):
        built("speedup", many)
    with pytest.raises(ConfigError, match="do not fit 3"):
        built("utilization", FULL, 3.5)


@pytest.mark.parametrize(("kind", "nearest"), [("rofline", "roofline"), ("paretto", "pareto")])
def test_unknown_kind_names_the_nearest(tmp_path: Path, kind: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{nearest}'"):
        plots.draw(kind, PAPER, PARTS, tmp_path)


def test_no_results_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no results"):
        plots.draw("speedup", PAPER.head(0), PARTS, tmp_path)
    nothing = PAPER.assign(**dict.fromkeys(NUMBERS, math.nan))
    for kind in ("speedup", "roofline", "pareto", "bandwidth", "energy", "utilization"):
        with pytest.raises(ConfigError):
            plots.draw(kind, nothing, PARTS.head(0), tmp_path)


def test_functions_fill_the_axes_they_are_given() -> None:
    with styled():
        sheet = Sheet(3.5, 1, 1.0)
        table = PAPER[PAPER["workload"] == "bert"].assign(series=PAPER["machine"])
        look = Look.of(Shape.of(PAPER))
        ax = bars.grouped_bars(table, sheet.axes[0], "speedup", ["sequence"], ["flat", "fusemax"], look)
    assert ax is sheet.axes[0]


SEPARATE = """
import sys
import dse.studies.plots
assert not {"matplotlib", "pandas", "numpy"} & set(sys.modules)
import matplotlib
before = matplotlib.rcParams.copy()
from tests.studies import fake
dse.studies.plots.draw("bandwidth", *fake.sweep(workloads=["t5"]), sys.argv[1])
assert dict.__eq__(matplotlib.rcParams, before)  # plain lookups would choose a window system
assert "matplotlib.pyplot" not in sys.modules
"""


def test_drawing_leaves_the_callers_matplotlib_alone(tmp_path: Path) -> None:
    places = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", SEPARATE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
