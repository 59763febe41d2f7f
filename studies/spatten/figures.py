"""Figures of the SpAtten study that no sweep has: top-k cycles on recorded streams, ties, accuracy of techniques.

Each is drawn as PDF and PNG with its numbers as CSV.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arch.machine import load_machine
from dse.simulator.spatten.chip import chip_of
from dse.simulator.spatten.times import topk_times
from dse.studies.frames import write_atomic
from dse.studies.plots.look import COLOURS, EDGE, MARKERS
from dse.studies.plots.sheet import Sheet, files_of, styled
from dse.workloads.pruned_run import load_run, run_rows
from dse.workloads.pruned_scores import quantised, recorded_rows
from dse.workloads.pruning import load_schedule
from dse.workloads.score_trace import load_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

    from dse.simulator.topk import TopK
    from dse.studies.study_values import Measured
    from dse.workloads.head_rows import HeadRows

    Row = dict[str, Any]

DEPTH = 32
RUNS = ("minilm_alice_64_values", "minilm_alice_64_half", "minilm_alice_64_quarter", "minilm_alice_128_half")
UNPRUNED = ("minilm_alice_64", "minilm_alice_128")
BITS = (4, 6, 8, 10, 12, 14, 16)
EVERY = 16
ORDERS = {
    "spatten_serial": "serial",
    "spatten": "layer after layer",
    "spatten_drawn": "layers, rounds drawn",
    "spatten_free": "free flow",
}
DEPTHS = {
    "topk.capacity": "elements of a top-k FIFO",
    "fetcher.response_entries": "responses of a fetcher lane",
    "softmax.reorder_lines": "lines behind a replayed row",
}
QUANTILES = {"p50": 50, "p95": 95, "max": 100}


def draw(file: object, claims: object, measured: Mapping[str, Measured], folder: Path) -> list[Path]:
    """Draw all of them."""
    del file, claims
    engine = chip_of(load_machine("spatten"), DEPTH).engine("scala")  # type: ignore[arg-type]
    made: dict[str, tuple[Callable[[list[Row]], Figure], list[Row]]] = {
        "bounds": (_bounds, bounds(measured["bounds"])),
        "fifo": (_fifo, fifo(measured["fifo"])),
        "traced": (_traced, traced(engine)),
        "ties": (_ties, ties(engine)),
        "techniques": (_techniques, techniques()),
    }
    paths = []
    for name, (drawn, rows) in made.items():
        with styled():
            files = files_of(drawn(rows)) | {".csv": _csv(rows)}
        for suffix, content in files.items():
            write_atomic(folder / f"{name}{suffix}", content)
            paths.append(folder / f"{name}{suffix}")
    return paths


def bounds(measured: Measured) -> list[Row]:
    """Cycles of GPT-2 small by what waits for what."""
    cycles = measured.column("cycles")
    return [
        {"pruning": point["pruning"], "order": ORDERS[point["mapping"]], "cycles": float(cycles[place])}
        for place, point in enumerate(measured.points)
    ]


def fifo(measured: Measured) -> list[Row]:
    """Cycles by the depth of each FIFO, the others as they are."""
    cycles = measured.column("cycles")
    return [
        {"fifo": name, "depth": int(point[name]), "cycles": float(cycles[place])}
        for name in DEPTHS
        for place, point in enumerate(measured.points)
        if name in point
    ]


def traced(engine: TopK) -> list[Row]:
    """Keep ratios, low-order bits and quantiles of top-k cycles of recorded runs, traced and drawn."""
    runs = {name: run_rows(load_run(name), DEPTH) for name in RUNS}
    schedule = load_schedule("minilm_half")
    runs |= {
        f"{name}, rows taken out": recorded_rows(load_scores(name), schedule, DEPTH) for name in UNPRUNED
    }
    return [_traced_row(engine, name, rows) for name, rows in runs.items()]


def _traced_row(engine: TopK, name: str, rows: HeadRows) -> Row:
    heads = 6 * 12 * rows.length[0]
    row: Row = {
        "run": name.removeprefix("minilm_alice_"),
        "rows": len(rows),
        "queries_kept": len(rows) / heads,
        "keys_kept": float(rows.keys.sum() / (heads * rows.length[0])),
        "values_kept": float(rows.values.sum() / (heads * rows.length[0])),
        "refetched": float(rows.refetch.mean()),
    }
    found = {"traced": topk_times(engine, rows, "trace")[0]}
    found["drawn"] = topk_times(engine, rows, "random_integer")[0]
    for model, cycles in found.items():
        row |= {f"{model}_{key}": float(np.percentile(cycles, at)) for key, at in QUANTILES.items()}
        row[f"{model}_mean"] = float(cycles.mean())
    return row | {"traced_over_drawn": row["traced_mean"] / row["drawn_mean"]}


def ties(engine: TopK) -> list[Row]:
    """Share of elements that repeat another, and mean cycles, by bits of a probability; scores were recorded in 8."""
    from dse.simulator.topk import random_rounds, select

    trace = load_scores("minilm_alice_256")
    scores = np.concatenate([head.scores()[::4] for head in trace.heads])[::EVERY]
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    keys, keep = probabilities.shape[1], probabilities.shape[1] // 4
    sizes = np.full(len(probabilities), keys), np.full(len(probabilities), keep)
    drawn = float(random_rounds(engine, *sizes).cycles.mean())
    found = []
    for bits in BITS:
        streams = quantised(probabilities, bits)
        distinct = np.array([len(np.unique(stream)) for stream in streams])
        generator = np.random.default_rng(engine.seed)
        cycles = [select(engine, stream, keep, generator).cycles for stream in streams]
        tied = float(1.0 - distinct.mean() / keys)
        found.append({"bits": bits, "tied": tied, "cycles": float(np.mean(cycles)), "drawn": drawn})
    return found


def techniques() -> list[Row]:
    """DRAM traffic saved and what it costs, of each technique, from the committed table."""
    with Path(__file__).with_name("accuracy.csv").open(encoding="utf-8", newline="") as text:
        rows = [row for row in csv.DictReader(text) if row["technique"] != "none"]
    return [
        {
            "technique": row["technique"],
            "dram_reduction": float(row["dram_reduction"]),
            "output_error": 1.0 - float(row["output_cosine"]),
            "similarity_correlation": float(row["similarity_correlation"]),
        }
        for row in rows
    ]


def _bounds(rows: list[Row]) -> Figure:
    """A bar for each order, dense ones hatched."""
    sheet = Sheet(7.0, 1, 1.2)
    ax = sheet.axes[0]
    legend: dict[bool, Artist] = {}
    for place, row in enumerate(rows):
        dense = row["pruning"] == "gpt2_small_dense"
        (bar,) = ax.bar(
            [place], [row["cycles"] / 1e6], 0.6, color=COLOURS[dense], edgecolor=EDGE, linewidth=0.4,
            hatch="////" if dense else "",
        )  # fmt: skip
        ax.annotate(
            f"{row['cycles'] / 1e6:.3f}", (place, row["cycles"] / 1e6), ha="center", va="bottom", fontsize=7
        )
        bar.set_label("dense" if dense else "pruned, quantised")
        legend[dense] = bar
    ax.set_xticks(range(len(rows)), [str(row["order"]).replace(", ", ",\n") for row in rows])
    ax.margins(y=0.15)
    ax.grid(visible=True, axis="y")
    return sheet.finish("million cycles", [list(legend.values())])


def _fifo(rows: list[Row]) -> Figure:
    """Cycles over depth, a panel for each FIFO."""
    sheet = Sheet(7.0, 1, 1.2, columns=len(DEPTHS))
    highest = max(row["cycles"] for row in rows) / 1e3
    for ax, (name, label) in zip(sheet.axes, DEPTHS.items(), strict=True):
        some = [(row["depth"], row["cycles"] / 1e3) for row in rows if row["fifo"] == name]
        x, y = zip(*some, strict=True)
        ax.plot(x, y, color=COLOURS[0], marker=MARKERS[0], linewidth=0.8, markersize=3.5)
        ax.set_xscale("log", base=2)
        ax.set_ylim(0, 1.05 * highest)
        ax.set_xlabel(label, labelpad=1)
        ax.grid(visible=True)
    return sheet.finish("thousand cycles", [])


def _traced(rows: list[Row]) -> Figure:
    """Quantiles of both models side by side for every run."""
    sheet = Sheet(7.0, 1, 1.4)
    ax, width = sheet.axes[0], 0.26
    legend: list[Artist] = []
    places = np.arange(len(rows))
    for k, quantile in enumerate(QUANTILES):
        for half, model in enumerate(("traced", "drawn")):
            heights = [row[f"{model}_{quantile}"] for row in rows]
            bars = ax.bar(
                places + (k - 1) * width + (half - 0.5) * width / 2, heights, width / 2, color=COLOURS[k],
                edgecolor=EDGE, linewidth=0.4, hatch="////" if half else "",
            )  # fmt: skip
            bars[0].set_label(f"{model}, {quantile}")
            legend.append(bars[0])
    ax.set_xticks(places, [str(row["run"]).replace(", ", ",\n") for row in rows])
    ax.grid(visible=True, axis="y")
    return sheet.finish("cycles of a top-k", [legend])


def _ties(rows: list[Row]) -> Figure:
    """Ties, and cycles beside those of distinct values."""
    sheet = Sheet(7.0, 1, 1.5, columns=2)
    left, right = sheet.axes
    bits = [row["bits"] for row in rows]
    style: dict[str, Any] = {"linewidth": 0.8, "markersize": 3.5, "marker": MARKERS[0]}
    left.plot(bits, [100 * row["tied"] for row in rows], color=COLOURS[0], **style)
    left.set_title("% of probabilities that repeat another")
    (real,) = right.plot(bits, [row["cycles"] for row in rows], color=COLOURS[0], label="recorded", **style)
    (drawn,) = right.plot(bits, [row["drawn"] for row in rows], color=COLOURS[1], label="distinct, drawn")
    right.set_title("mean cycles of a top-k")
    for ax in sheet.axes:
        ax.set_xlabel("bits of a probability", labelpad=1)
        ax.set_ylim(bottom=0)
        ax.grid(visible=True)
    return sheet.finish("256 keys, a quarter kept", [[real, drawn]])


def _techniques(rows: list[Row]) -> Figure:
    """Traffic saved against the error of the output, a line for each technique."""
    sheet = Sheet(7.0, 1, 1.9)
    ax = sheet.axes[0]
    legend: list[Artist] = []
    for k, name in enumerate(dict.fromkeys(row["technique"] for row in rows)):
        some = sorted(
            (row["dram_reduction"], row["output_error"]) for row in rows if row["technique"] == name
        )
        x, y = zip(*some, strict=True)
        legend += ax.plot(
            x, np.maximum(y, 1e-5), color=COLOURS[k % len(COLOURS)], marker=MARKERS[k % len(MARKERS)],
            linewidth=0.8, markersize=4, label=name,
        )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel("DRAM traffic of the dense 16-bit run over that of the technique", labelpad=1)
    ax.grid(visible=True)
    return sheet.finish("1 - output cosine", [legend])


def _csv(rows: list[Row]) -> bytes:
    """The rows as CSV; numbers to six digits."""
    texts = [
        [f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    return "\n".join([",".join(rows[0]), *(",".join(text) for text in quoted(texts)), ""]).encode()


def quoted(texts: list[list[str]]) -> list[list[str]]:
    """Fields with commas in quotation marks."""
    return [[f'"{field}"' if "," in field else field for field in row] for row in texts]
