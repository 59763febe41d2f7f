"""Areas of spatial-array machines: sums of components that follow the machine's sizes, unknown where a part is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse import spec
from dse.arch.machine import load_machine
from dse.arch.spatial_array import SpatialArray
from dse.arch.tables.sram import load_sram
from dse.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TABLE = "sram_fusemax_45nm"
ADDRESS_BIT_M2 = 11.63484e-12
SIZES = st.integers(1, 1 << 12)


def loaded(source: str | Path, changes: dict[str, str] | None = None) -> SpatialArray:
    found = load_machine(source, changes)
    assert isinstance(found, SpatialArray)
    return found


def extended(folder: Path, text: str, base: str = "fusemax_pe16") -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"extends: {base}\nsource: test\n{text}", encoding="utf-8")
    return path


@given(rows=SIZES, columns=SIZES, entries=SIZES)
def test_area_of_an_array_follows_shape_and_registers(rows: int, columns: int, entries: int) -> None:
    sizes = {"shape[0]": str(rows), "shape[1]": str(columns), "array_2d.registers.entries": str(entries)}
    unit = loaded("fusemax", sizes).units["array_2d"]
    address_bits = max(1, (entries - 1).bit_length())
    element_um2 = 1545 + 49.28944 + max(entries, 64) * 262.36 + address_bits * 11.63484
    assert unit.area_m2[0] == pytest.approx(rows * columns * element_um2 * 1e-12, rel=1e-12)


def test_exponential_unit_and_divider_make_flats_lanes_larger() -> None:
    lane_um2 = [loaded(name).units["array_1d"].area_m2[0] * 1e12 / 256 for name in ("flat", "fusemax")]
    assert lane_um2[0] - lane_um2[1] == pytest.approx(8240 - 11.63484, rel=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"global_buffer.capacity": "48 KiB"},
        {"global_buffer.row": "64 B"},
        {"global_buffer.ports": "2"},
    ],
)
def test_a_buffer_that_is_not_in_its_table_has_no_known_area(changes: dict[str, str]) -> None:
    found = loaded("fusemax_pe16", changes)
    assert np.isnan(found.memories["global_buffer"].area_m2[0])
    assert np.isnan(found.area_m2[0])
    assert np.isfinite(found.units["array_2d"].area_m2[0])


@pytest.mark.parametrize("missing", ["registers: {area: null}", "operations: {max: {area: null}}"])
def test_an_element_with_a_part_of_unknown_area_has_no_known_area(tmp_path: Path, missing: str) -> None:
    found = loaded(extended(tmp_path, f"units: {{array_2d: {{{missing}}}}}\n"))
    assert np.isnan(found.units["array_2d"].area_m2[0])
    assert np.isfinite(found.units["array_1d"].area_m2[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memories: {global_buffer: {area: 1 um2}}", "needs either area or table"),
        ("memories: {global_buffer: {table: sram_fusemax_45}}", "did you mean 'sram_fusemax_45nm'"),
        ("memories: {dram: {table: sram_fusemax_45nm}}", "needs capacity, row and ports"),
        ("technology: 7 nm", "of another technology"),
        ("units: {array_1d: {operations: {exp: {area: 1 um2}}}}", "has no area of its own"),
        ("units: {array_1d: {operations: {max: {area: -1 um2}}}}", "at least 0"),
    ],
)
def test_areas_that_contradict_each_other_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_machine(extended(tmp_path, text + "\n"))
    assert "mine.yaml" in str(caught.value) or "fusemax_pe16.yaml" in str(caught.value)


def test_recovered_buffer_areas_leave_a_round_estimate() -> None:
    """Less the address adders, each is a number of six digits or less: nothing else is mixed in."""
    macros = load_sram(TABLE).macros
    for name, macro in macros.items():
        rows = macro.capacity / macro.row
        estimate_um2 = (macro.area - np.log2(rows) * ADDRESS_BIT_M2) * 1e12
        assert estimate_um2 == pytest.approx(float(f"{estimate_um2:.6g}"), rel=1e-12), name
        assert 0.3 < estimate_um2 / (8 * macro.capacity) < 3, name


def test_larger_buffers_of_one_row_take_more_area() -> None:
    by_row: dict[float, list[tuple[float, float]]] = {}
    for macro in load_sram(TABLE).macros.values():
        by_row.setdefault(macro.row, []).append((macro.capacity, macro.area))
    for sizes in by_row.values():
        assert [area for _, area in sorted(sizes)] == sorted(area for _, area in sizes)
    assert len(by_row) == 6


def test_every_table_of_memories_loads() -> None:
    names = [name for name in spec.shipped("arch/tables") if name.startswith("sram")]
    assert TABLE in names
    for name in names:
        file = load_sram(name)
        assert file.macros or file.grid
