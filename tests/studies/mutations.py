"""Damage to files: edits of their bytes, and of the tree they hold with values that are right elsewhere, or nowhere."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeAlias, cast

import yaml

from dse import yaml_tree
from tests.spec.test_fuzz import damage

if TYPE_CHECKING:
    import random
    from pathlib import Path

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree] | None"
NASTY: tuple[Tree, ...] = (
    "0", "1", "-1", "2", "0.5", "1e308", "-1e-308", "nan", "inf", "-inf", "999999999999999999T", "1T", "64K", "",
    "null", "true", "no", "~", "x", "é" * 50, "y" * 5000, "0 B", "1 B", "1e-300 Hz", "1e200 GiB", "1e300 GiB/s",
    "-3 pJ/bit", "1 cycle", "0 cycle", "1e99 um2", "7 furlongs", "1 nm", "../../x", "fusemax", "bert", "softmax_1pass",
    "decode", "Q[e,p]", "QK[m1,m0,p] = Q[e,p]", "all", [], {}, ["1"], {"a": "1"}, [[["x"]]], None,
)  # fmt: skip


def tree_of(path: Path) -> Tree:
    """The data of a file, every scalar as text."""
    return cast("Tree", yaml_tree.compose(path.read_text(encoding="utf-8"), path.name)[0].plain())


def scalars(tree: Tree) -> list[str]:
    """Every scalar of a tree."""
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in scalars(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in scalars(value)]
    return [] if tree is None else [tree]


def mutated(path: Path, donors: list[str], chance: random.Random) -> bytes:
    """The file with a few random changes; ``donors`` are scalars of other files of its kind."""
    if chance.random() < 0.3:
        return damage(path.read_text(encoding="utf-8"), chance)
    tree = copy.deepcopy(tree_of(path))
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        _change(tree, donors, chance)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def _change(tree: Tree, donors: list[str], chance: random.Random) -> None:
    """One change somewhere in the tree: of a value, of a key, or of what is there."""
    filled = [node for node in _containers(tree) if node]
    if not filled:
        return
    place = chance.choice(filled)
    if isinstance(place, list):
        index = chance.randrange(len(place))
        if chance.random() < 0.3:
            place.insert(index, place.pop(chance.randrange(len(place))))
        else:
            place[index] = _value(place[index], donors, chance)
        return
    key = chance.choice(list(place))
    kind = chance.random()
    if kind < 0.15:
        del place[key]
    elif kind < 0.25:
        place[chance.choice((key + "s", key.upper(), "x", key[::-1]))] = place.pop(key)
    else:
        place[key] = _value(place[key], donors, chance)


def _value(old: Tree, donors: list[str], chance: random.Random) -> Tree:
    if isinstance(old, str) and chance.random() < 0.3 and old[:1].isdigit():
        return chance.choice(("0", "9999999999", "1e30", "-", "0.001")) + old.lstrip("0123456789.")
    return copy.deepcopy(
        chance.choice(NASTY) if chance.random() < 0.5 or not donors else chance.choice(donors)
    )


def _containers(tree: Tree) -> list[list[Tree] | dict[str, Tree]]:
    if not isinstance(tree, (dict, list)):
        return []
    inner = tree.values() if isinstance(tree, dict) else tree
    return [tree, *(found for value in inner for found in _containers(value))]
