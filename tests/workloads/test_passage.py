"""Shipped passages are old enough to be free, long enough, and read as plain lines."""

from __future__ import annotations

import pytest

from dse import spec
from dse.errors import ConfigError
from dse.workloads.passage import ROOM, Passage, load_passage


@pytest.mark.parametrize("name", sorted(spec.shipped(ROOM)))
def test_shipped_passages_are_public_domain_prose(name: str) -> None:
    passage = load_passage(name)
    assert passage.year < 1900
    assert "public domain" in passage.source
    assert len(passage.plain.split()) > 250
    assert all(part == " ".join(part.split()) for part in passage.paragraphs)


def test_lines_join_and_blank_lines_part() -> None:
    text = "title: t\nauthor: a\nyear: 1800\nsource: s\ntext: |\n  One\n  two.\n\n  Three.\n"
    passage = spec.parse(text, Passage)
    assert passage.paragraphs == ("One two.", "Three.")
    assert passage.plain == "One two. Three."
    assert len(passage.hash) == 64
    with pytest.raises(ConfigError, match="no passage 'alise'; did you mean 'alice'"):
        load_passage("alise")
