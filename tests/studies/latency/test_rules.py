"""Rules select rows by text and by number, and say what is wrong."""

from __future__ import annotations

import pandas as pd
import pytest

from dse.errors import ConfigError
from dse.studies.latency.rules import any_of, parse, seen, select

TABLE = pd.DataFrame({"kind": ["a", "b", "a", "c"], "size": ["8", "16", "32.0", "x"], "gpu": ["H200"] * 4})


def test_rules_compare_numbers_as_numbers_and_texts_as_texts() -> None:
    assert select(TABLE, [parse("kind=a")]).tolist() == [True, False, True, False]
    assert select(TABLE, [parse("kind!=a")]).tolist() == [False, True, False, True]
    assert select(TABLE, [parse("size=32")]).tolist() == [False, False, True, False]
    assert select(TABLE, [parse("size=8,16")]).tolist() == [True, True, False, False]
    assert select(TABLE, [parse("size >= 16")]).tolist() == [False, True, True, False]
    assert select(TABLE, [parse("size<16"), parse("kind=b")]).tolist() == [False] * 4
    assert select(TABLE, []).tolist() == [True] * 4
    assert any_of(TABLE, [[parse("kind=c")], [parse("size>8"), parse("kind=a")]]).tolist() == [
        False, False, True, True,
    ]  # fmt: skip
    assert any_of(TABLE, []).tolist() == [False] * 4


def test_texts_that_are_no_rule_and_unknown_columns_are_refused_together() -> None:
    for text in ("kind", "=3", "kind=", "kind~a", "size>big", "1a=2"):
        with pytest.raises(ConfigError, match=r"selects nothing|needs a number"):
            parse(text)
    with pytest.raises(ConfigError) as error:
        select(TABLE, [parse("knid=a"), parse("sise>3"), parse("kind=a")])
    assert [str(one) for one in error.value.problems] == [
        "no column 'knid'; did you mean 'kind'?",
        "no column 'sise'; did you mean 'size'?",
    ]
    assert seen(TABLE, parse("kind=z")) == "no row has kind=z; kind has a, b, c"


def test_a_rule_reads_back_as_it_was_written() -> None:
    for text in ("kind=a,b", "size>=16", "size!=8"):
        assert str(parse(text)) == text
        assert parse(str(parse(text))) == parse(text)
