"""The tree of text: what is written is read back, and places count from the file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dse.errors import Place
from dse.yaml_tree import Node, compose, dotted, place, split, to_text

NOWHERE = Place("t")
text = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=12)
keys = text.filter(bool)
trees = st.recursive(
    st.one_of(
        text, st.none(), st.sampled_from(["null", "~", "12", "true", "1.5", "2001-01-01", "a: b", "=", "<<"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
    max_leaves=12,
)


def node(data: object) -> Node:
    if isinstance(data, dict):
        return Node({key: node(value) for key, value in data.items()}, NOWHERE)
    if isinstance(data, list):
        return Node([node(value) for value in data], NOWHERE)
    return Node(data if isinstance(data, str) else None, NOWHERE)


@given(st.dictionaries(keys, trees, max_size=4))
def test_written_trees_read_back(data: dict[str, object]) -> None:
    again, problems = compose(to_text(node(data)), "t")
    assert problems == []
    assert again.plain() == data


def test_paths_and_places() -> None:
    root, _ = compose("a:\n  b: [1,\n    2]\nc: x\n", "t")
    assert dotted(split("a.b[1]")) == "a.b[1]"
    lines = [place(root, split(path)).line for path in ("a", "a.b", "a.b[1]", "a.b.1", "c", "c.d", "z")]
    assert lines == [1, 2, 3, 3, 4, 4, 1]
