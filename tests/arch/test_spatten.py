"""SpAtten's machine files: what is refused."""

from __future__ import annotations

import pytest

from dse.arch.machine import load_machine
from dse.errors import ConfigError


@pytest.mark.parametrize("interleave", ["1 bit", "0 B", "32.5 B"])
def test_interleave_is_whole_bytes(interleave: str) -> None:
    with pytest.raises(ConfigError, match="interleave must be whole bytes"):
        load_machine("spatten", {"memories.dram.interleave": interleave})


def test_interleave_may_be_another() -> None:
    assert load_machine("spatten", {"memories.dram.interleave": "64 B"}).kind == "spatten"
