"""Damaged machine, workload, mapping, space and sweep files: a result or a DseError, never anything else, and soon.

Files are found by place, so that every kind of machine, workload and mapping there is gets its share.
"""

from __future__ import annotations

import random
import signal
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse import spec
from dse.errors import DseError
from dse.studies.batch import Request
from dse.studies.record import evaluate_one, record
from dse.studies.sweep import Plan, batch_tables, content_of, points_of
from dse.studies.sweep_file import load_sweep
from dse.studies.verbs.check import CHECKS, kind_of
from tests.studies.cli_runner import dse
from tests.studies.mutations import mutated, scalars, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

MANY, QUICK = 10_000, 150
CLI_MANY, CLI_QUICK = 200, 10
SECONDS = 5.0
SWEEP_POINTS = 64
ROOMS = {
    "machine": "arch",
    "model": "workloads/models",
    "cascade": "workloads/cascades",
    "mapping": "mappers/mappings",
    "space": "mappers/spaces",
    "sweep": "studies/sweeps",
}
SWEEP = """
title: small
source: test
sweep:
  workload: [bert]
  sequence: [16, 48]
  machine: [fusemax]
  dram.bandwidth: [100 GiB/s, 400 GiB/s]
  accounting: [paper, physical]
  set: {batch: 2, phase: prefill}
  baseline: {machine: fusemax_architecture}
  also:
    buffers:
      machine: [fusemax]
      workload: [xlm]
      sequence: [64]
      global_buffer.capacity: [1 MiB, 16 MiB]
"""
PARTS = ("tables", "parts", "memories", "calibration", "links")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Fails what uses the processor for longer."""

    def stop(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def shipped(room: str) -> list[Path]:
    """Shipped files of a kind; parts of machines are none."""
    return [path for path in spec.shipped(ROOMS[room]).values() if path.parent.name not in PARTS]


def machine(path: Path, chance: random.Random) -> None:
    workload = chance.choice(("bert", "t5", "attention", "matmul"))
    sizes = {"m": "512", "n": "512", "k": "512"} if workload == "matmul" else {"sequence": "256"}
    phase = {} if workload == "matmul" else {"phase": chance.choice(("prefill", "decode"))}
    one(Request(str(path), workload, tuple((sizes | phase).items())))


def model(path: Path, chance: random.Random) -> None:
    scope = chance.choice(("attention", "layer", "model"))
    one(Request("fusemax", str(path), (("sequence", "2K"), ("scope", scope))))


def cascade(path: Path, chance: random.Random) -> None:
    ranks = (("e", "64"), ("f", "64"), ("m", "512"), ("p", "512"))
    one(Request(chance.choice(("fusemax", "flat")), str(path), ranks))


def mapping(path: Path, chance: random.Random) -> None:
    names = [found.stem for found in shipped("machine")]
    one(Request(chance.choice(names), "bert", (("sequence", "256"),), mapping=str(path)))


def sweep(path: Path, _: random.Random) -> None:
    parts, _stem = load_sweep(path)
    points = points_of(parts, content_of(parts))
    if 0 < len(points) <= SWEEP_POINTS:
        batch_tables(Plan.of(points), np.arange(len(points)), points.keys, True)


def nothing(_: Path, __: random.Random) -> None:
    """Checked by ``dse check`` only."""


USES: dict[str, Callable[[Path, random.Random], None]] = {
    "machine": machine,
    "model": model,
    "cascade": cascade,
    "mapping": mapping,
    "space": nothing,
    "sweep": sweep,
}


def one(request: Request) -> None:
    """One design point and its record."""
    record(request, evaluate_one(request))


def seeds(room: str, folder: Path) -> list[Path]:
    """Valid files to damage: the shipped ones, and for sweeps one that has everything."""
    if room != "sweep":
        return shipped(room)
    path = folder / "small.yaml"
    path.write_text(SWEEP)
    return [path, *shipped(room)]


def fuzz(room: str, count: int, seed: int, folder: Path) -> None:
    chance = random.Random(f"{room} {seed}")
    files = seeds(room, folder)
    donors = [text for path in files for text in scalars(tree_of(path))]
    path, outcomes = folder / "damaged.yaml", []
    for number in range(count):
        path.write_bytes(mutated(files[number % len(files)], donors, chance))
        for use in (lambda: CHECKS[kind_of(path)](path), lambda: USES[room](path, chance)):
            try:
                outcomes.append(outcome(use))
            except Exception as error:
                raise AssertionError(f"{room} {number}: {path.read_text(errors='replace')}") from error
    assert {True, False} <= set(outcomes)


def outcome(use: Callable[[], object]) -> bool:
    """Whether a file was taken; one that was not must have been refused with a reason."""
    try:
        with limited(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            use()
    except DseError as error:
        if not error.problems or not all(problem.message for problem in error.problems):
            raise AssertionError("refused without a reason") from error
        return False
    return True


@pytest.mark.parametrize("room", ROOMS)
def test_damaged_files_give_a_result_or_a_reason(room: str, tmp_path: Path) -> None:
    fuzz(room, QUICK // len(ROOMS), 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_many_damaged_files_give_a_result_or_a_reason(room: str, tmp_path: Path) -> None:
    fuzz(room, MANY // len(ROOMS) + 1, 2, tmp_path)


def through_the_command_line(count: int, seed: int, folder: Path) -> None:
    """``dse sweep`` of damaged sweeps, and of damaged machines: a result, or a reason and no folder."""
    chance, codes = random.Random(seed), set()
    small, machines = seeds("sweep", folder)[0], shipped("machine")
    donors = [text for path in (small, *machines) for text in scalars(tree_of(path))]
    damaged, of_machine = folder / "damaged.yaml", folder / "machine.yaml"
    of_machine.write_text(SWEEP.replace("[fusemax]", f"[{damaged}]"))
    for number in range(count):
        file = (damaged, of_machine)[number % 2]
        damaged.write_bytes(mutated((small, chance.choice(machines))[number % 2], donors, chance))
        out = folder / f"out{number}"
        with limited(SECONDS):
            ran = dse("sweep", file, "--out", out, "--no-plots", "--format", "csv")
        if ran.code not in {0, 2, 3} or "Traceback" in ran.err or (ran.code == 2 and out.exists()):
            raise AssertionError(f"{ran.code} {ran.err}\n{damaged.read_text(errors='replace')}")
        codes.add(ran.code)
    assert 2 in codes
    assert count < CLI_MANY or codes >= {0, 2}


def test_damaged_sweeps_on_the_command_line_leave_nothing(tmp_path: Path) -> None:
    through_the_command_line(CLI_QUICK, 1, tmp_path)


@pytest.mark.slow
def test_many_damaged_sweeps_on_the_command_line_leave_nothing(tmp_path: Path) -> None:
    through_the_command_line(CLI_MANY, 2, tmp_path)
