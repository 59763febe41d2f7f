"""GPUs: every shipped one loads with peaks its data sheet states; calibrations are checked and change the notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.arch.calibration.constants import CONSTANTS, Calibration, find_calibration, load_calibration
from dse.arch.gpu import UNCALIBRATED, Gpu
from dse.arch.machine import load_machine
from dse.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

# Dense 16-bit TFLOP/s (FP32 for the TITAN Xp) and TB/s of the data sheets.
PEAKS = {
    "h200": (989.4, 4.8),
    "h100": (989.4, 3.35),
    "a100": (312.0, 2.039),
    "b200": (2250.0, 7.7),
    "v100": (112.0, 0.9),
    "titan_xp": (12.1, 0.5477),
}


def gpu(name: str, **changes: str) -> Gpu:
    found = load_machine(name, changes)
    assert isinstance(found, Gpu)
    return found


@pytest.mark.parametrize(("name", "peaks"), PEAKS.items())
def test_peaks_are_those_of_the_data_sheet(name: str, peaks: tuple[float, float]) -> None:
    found = gpu(name)
    assert found.peak_flop_per_s[0] / 1e12 == pytest.approx(peaks[0], rel=0.005)
    assert found.dram_byte_per_s[0] / 1e12 == pytest.approx(peaks[1])
    assert {path for path, _ in found.scaled_resources(2.0)} >= {"sms", "memories.dram.bandwidth"}


def test_types_that_tensor_cores_do_not_take() -> None:
    a100, titan = gpu("a100"), gpu("titan_xp")
    assert a100.tensor_rate("fp32") is None
    assert a100.tensor_rate("fp8") is a100.tensor_rate("fp16")
    assert titan.tensor_rate("fp16") is None
    assert gpu("h200").tensor_rate("fp8")[0] == 8192  # type: ignore[index]


def test_without_a_calibration_results_say_so() -> None:
    found = gpu("h200", calibration="none")
    assert UNCALIBRATED in found.notes
    assert found.calibration.names() == ()
    for name, constant in CONSTANTS.items():
        np.testing.assert_equal(found.calibration.get(name, "prefill")[0], constant.default)


FILE = """
title: test constants
source: made up for a test
machine: h200
notes: [from nothing]
constants:
  launch: {value: 5 us, low: 4 us, high: 6 us, meaning: first kernel, fitted: none}
families:
  prefill:
    overlap: {value: 0.5, low: 0.4, high: 0.6, meaning: hidden share, fitted: none}
    prologue: {value: 3000 cycles, low: 2000 cycles, high: 4000 cycles, meaning: start, fitted: none}
"""


def test_a_familys_constants_win_over_the_machines(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(FILE)
    found = load_calibration(path)
    assert found.names() == ("launch", "prefill.prologue", "prefill.overlap")
    assert (found.get("overlap", "prefill")[0], found.get("overlap", "decode")[0]) == (0.5, 1.0)
    assert found.get("launch", "prefill")[0] == pytest.approx(5e-6)
    assert found.intervals["prefill.overlap"] == (0.4, 0.6)
    assert found.knows("prefill")
    assert not found.knows("decode")
    machine = gpu("h200", calibration=str(path))
    assert machine.notes[:2] == ("calibrated: test constants", "from nothing")
    changed = found.replaced({"prefill.overlap": 0.7, "gemm.masked": 0.1})
    assert changed.get("overlap", "prefill")[0] == 0.7
    assert changed.get("masked", "gemm")[0] == 0.1
    assert found.get("overlap", "prefill")[0] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE.replace("low: 0.4", "low: 0.55"), "value 0.5 is not between low 0.55 and high 0.6"),
        (FILE.replace("5 us", "5 GB/s"), "a time"),
        (FILE.replace("overlap:", "overlp:"), "overlp"),
        (FILE.replace("value: 0.5", "value: 1.5"), "must be at most 1.0"),
    ],
)
def test_wrong_calibrations_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_calibration(path)


def test_unknown_constants_and_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="no constant 'overlop'"):
        Calibration().replaced({"prefill.overlop": 1.0})
    with pytest.raises(ConfigError, match="h2000"):
        gpu("h200", calibration="h2000")
    assert find_calibration("own", "no such machine") == Calibration()
