"""Damaged files: whatever the bytes, the loader returns a Spec or raises ConfigError, and does not hang."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, Problem
from dse.spec import Spec, load, parse
from tests.spec.schemas import Machine
from tests.spec.test_spec import GOOD

if TYPE_CHECKING:
    from pathlib import Path

FUZZED_FILES = 10_000
QUICK_FILES = 300
_PIECES = (
    "&a ", "*a", "!!int ", "? ", ": ", "- ", "[", "]", "{", "}", "'", '"', "|", ">", "%", "@", "`", "#", "\t",
    "\n", "\r", "\0", "\u2028", "\ud7ff", "~", "null", "<<: ", "---", "...", "1_0", "0x1", "nan", "-.inf",
    "\ufeff", "9" * 400, "1e999 s",
    "9**9**9 B", "[" * 40, "{a: " * 40, "é", "\\x00", "extends: x\n", "kind: gpu\n",
)  # fmt: skip


def damage(text: str, rng: random.Random) -> bytes:
    """The text with one to six random edits."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice((0, 0, 1, 5, 40)))
        piece = rng.choice((rng.choice(_PIECES).encode(), rng.randbytes(2), bytes(data[start:end]) * 2, b""))
        data[start:end] = piece
    return bytes(data)


def check_damaged(count: int, seed: int, folder: Path) -> None:
    rng = random.Random(seed)
    path = folder / "damaged.yaml"
    problems: list[Problem] = []
    refused = 0
    for _ in range(count):
        path.write_bytes(damage(GOOD, rng))
        try:
            assert isinstance(load(path, Machine, "arch"), Spec)
        except ConfigError as error:
            refused += 1
            problems += error.problems
    assert 0 < refused < count
    assert all(problem.message and problem.place for problem in problems)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    check_damaged(QUICK_FILES, 1, tmp_path)


@pytest.mark.slow
def test_many_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    check_damaged(FUZZED_FILES, 2, tmp_path)


@given(st.text(max_size=200))
@settings(max_examples=100)
def test_any_text_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"kind: none\n{text}", Machine)
    assert caught.value.problems
