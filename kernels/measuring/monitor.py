"""Clock, power, temperature and energy of a GPU while it works, read through NVML where that is installed.

Settings are read, never changed. Without ``pynvml`` every reading is empty.
"""

from __future__ import annotations

import importlib.util
import statistics
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

PERIOD_S = 0.02
# Names of NVML's bits for reasons to hold down the clock; 1 is being idle.
REASONS = {
    0x2: "application_clocks",
    0x4: "power_cap",
    0x8: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "hardware_power_brake",
    0x100: "display_clocks",
}


class Monitor:
    """Samples one GPU in a thread of its own between ``with`` and its end; ``summary`` gives medians."""

    def __init__(self, index: int = 0) -> None:
        self._nvml = _nvml()
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index) if self._nvml else None
        self._samples: list[dict[str, float]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def driver(self) -> str:
        """Version of the driver; empty if unknown."""
        if not self._nvml:
            return ""
        found = self._nvml.nvmlSystemGetDriverVersion()
        return found.decode() if isinstance(found, bytes) else str(found)

    def energy_j(self) -> float | None:
        """Energy since the driver was loaded; None if the GPU does not count it."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * 1e-3
        except Exception:  # noqa: BLE001 - without NVML, or NVML's own error classes
            return None

    def __enter__(self) -> Self:
        self._samples.clear()
        self._stop.clear()
        if self._nvml:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def take(self) -> list[dict[str, float]]:
        """Samples since the last call."""
        found, self._samples = self._samples, []
        return found

    def _watch(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._samples.append(self._read())

    def _read(self) -> dict[str, float]:
        nvml, handle = self._nvml, self._handle
        reads: dict[str, Callable[[], Any]] = {
            "sm_clock_hz": lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_clock_hz": lambda: 1e6 * nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "power_w": lambda: 1e-3 * nvml.nvmlDeviceGetPowerUsage(handle),
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            "throttle": lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        }
        found = {}
        for name, read in reads.items():
            try:
                found[name] = float(read())
            except Exception:  # noqa: BLE001 - a reading this GPU does not offer stays empty
                continue
        return found


def summary(samples: list[dict[str, float]]) -> dict[str, str]:
    """Median of each reading, and all reasons for which the clock was held down."""
    found = {}
    for name in ("sm_clock_hz", "memory_clock_hz", "power_w", "temperature_c"):
        values = [sample[name] for sample in samples if name in sample]
        found[name] = f"{statistics.median(values):.6g}" if values else ""
    bits = 0
    for sample in samples:
        bits |= int(sample.get("throttle", 0))
    found["throttle"] = "+".join(name for bit, name in REASONS.items() if bits & bit)
    return found


def _nvml() -> Any:  # noqa: ANN401
    """NVML's module, started; None without it or without a driver."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
