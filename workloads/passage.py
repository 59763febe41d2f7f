"""Passages of English text that encoders are run on: public domain, with title, author and year."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import Field

from dse import spec

if TYPE_CHECKING:
    from pathlib import Path

ROOM = "workloads/texts"


class Passage(spec.Spec):
    """A file of text: a blank line parts paragraphs, the ends of other lines mean nothing."""

    title: str
    author: str
    year: int = Field(description="of first publication")
    source: str = Field(description="which part of the work, and why it may be copied")
    text: str

    @property
    def paragraphs(self) -> tuple[str, ...]:
        """Paragraphs, each one line of words parted by single blanks."""
        return tuple(" ".join(part.split()) for part in self.text.split("\n\n") if part.strip())

    @property
    def plain(self) -> str:
        """The whole text in one line."""
        return " ".join(self.paragraphs)

    @property
    def hash(self) -> str:
        """SHA-256 of ``plain``."""
        return hashlib.sha256(self.plain.encode()).hexdigest()


def load_passage(source: str | Path) -> Passage:
    """The passage of a path or shipped name (``alice``).

    Raises
    ------
    ConfigError
        No such file, or a wrong one.
    """
    return spec.load(source, Passage, ROOM)
