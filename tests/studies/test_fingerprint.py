"""Results are kept under hashes of what they depend on: a changed memory is another result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse import spec
from dse.arch.memories.dram import ROOM
from dse.studies.batch import Request
from dse.studies.fingerprint import fingerprint

if TYPE_CHECKING:
    from pathlib import Path


def test_a_memory_given_by_path_is_part_of_the_results(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    shipped = spec.find("hbm3_5200", ROOM).read_text(encoding="utf-8")
    request = Request("attacc_bank", "attention", overrides=(("memory.device", str(own)),))
    seen = []
    for text in (shipped, shipped, shipped.replace("rcd: 19 cycles", "rcd: 20 cycles")):
        own.write_text(text, encoding="utf-8")
        seen.append(fingerprint([request]))
    assert seen[0] == seen[1] != seen[2]


def test_a_memory_named_in_a_machine_is_part_of_the_results(tmp_path: Path) -> None:
    memory, machine = tmp_path / "own.yaml", tmp_path / "mine.yaml"
    machine.write_text(f"extends: attacc_bank\nmemory: {{device: {memory}}}\n", encoding="utf-8")
    seen = []
    for refresh in ("5070", "4000"):
        text = spec.find("hbm3_5200", ROOM).read_text(encoding="utf-8")
        memory.write_text(text.replace("refi: 5070", f"refi: {refresh}"), encoding="utf-8")
        seen.append(fingerprint([Request(str(machine), "attention")]))
    assert seen[0] != seen[1]
