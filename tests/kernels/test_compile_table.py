"""The tables of compiled launch parameters can be made again."""

from __future__ import annotations

import csv
import importlib.metadata
from dataclasses import replace
from pathlib import Path

import pytest

from dse import spec
from dse.kernels.compile_table import KERNELS, main, rows


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_committed_rows_are_those_of_the_compiler(kernel: object) -> None:
    found = next(k for k in KERNELS if k is kernel)
    with Path(spec.shipped("workloads/compiled", ".csv")[found.name]).open(
        encoding="utf-8", newline=""
    ) as file:
        table = list(csv.DictReader(file))
    if table[0]["triton"] != importlib.metadata.version("triton"):
        pytest.skip("the table was made with another version of triton")
    first = replace(found, axes={name: values[:1] for name, values in found.axes.items()})
    made = list(rows(first, ["sm_90"]))
    assert len(made) == 6
    assert all(row in table for row in made)


def test_usage_is_told() -> None:
    assert main([]) == 2
