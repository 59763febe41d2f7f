"""Loading a file: types, places, inheritance, names, and the exact words of every error."""

from __future__ import annotations

import pickle
from pathlib import Path

import jsonschema
import pytest

from dse.errors import ConfigError
from dse.spec import find, json_schema, load, origin, parse, place_of, resolve, shipped
from dse.yaml_tree import to_text
from tests.spec.schemas import Machine

GOOD = """\
kind: gpu
clock: 940 MHz
memories:
  dram: {bandwidth: 400 GiB/s, read: 12.54 nJ/row}
units:
  matrix: {kind: array, shape: [16, 8]}
window: 64K
flag: true
level: 2
"""
START = "kind: gpu\nclock: 1 GHz\n"

# What is appended to START (or stands alone where it names its own kind), and every line of the error.
BAD = [
    ("clok: 1", ["t:3: clok: unknown key 'clok'; did you mean 'clock'?"]),
    ("notes: x", ["t:3: notes: 'x' is not a list"]),
    ("memories: [1]", ["t:3: memories: expected a mapping (key: value), found a list"]),
    ("title: {a: b}", ["t:3: title: expected text, found a mapping"]),
    ("title:", ["t:3: title: has no value; expected text"]),
    ("flag: yes", ["t:3: flag: 'yes' is not true or false"]),
    ("flag: maybe", ["t:3: flag: 'maybe' is not true or false"]),
    (
        "window: 1_000",
        ["t:3: window: '1_000' is not a count; write a whole number, or one with K, M, G or T such as 64K"],
    ),
    (
        "window: -1",
        ["t:3: window: '-1' is not a count; write a whole number, or one with K, M, G or T such as 64K"],
    ),
    ("window:", ["t:3: window: has no value; expected a count such as 256 or 64K"]),
    (
        "limit: fast",
        [
            (
                "t:3: limit: 'fast' is not a number with a unit; expected a frequency such as '940 MHz'; "
                "or 'fast' is not allowed; did you mean 'auto'? (allowed: auto)"
            )
        ],
    ),
    (
        "memories:\n  dram:\n    bandwidth: 400\n    ports: 0",
        [
            "t:5: memories.dram.bandwidth: '400' needs a unit; expected a bandwidth such as '400 GiB/s'",
            "t:6: memories.dram.ports: '0' must be more than 0",
        ],
    ),
    (
        "memories:\n  dram: {bandwith: 1 B/s, colour: red}",
        [
            "t:4: memories.dram.bandwidth: this key is missing; expected a bandwidth such as '400 GiB/s'",
            "t:4: memories.dram.bandwith: unknown key 'bandwith'; did you mean 'bandwidth'?",
            "t:4: memories.dram.colour: unknown key 'colour' (allowed: bandwidth, ports, read)",
        ],
    ),
    (
        "units:\n  a: {kind: lane, lanes: 1}\n  b: {lanes: 1}\n  c: {kind: lanes, lanes: 0}\nlevel: 3",
        [
            "t:4: units.a.kind: 'lane' is not allowed; did you mean 'lanes'? (allowed: array, lanes)",
            "t:5: units.b.kind: this key is missing",
            "t:6: units.c.lanes: '0' must be more than 0",
            "t:7: level: '3' is not allowed (allowed: 1, 2)",
        ],
    ),
    ("units: {c: {kind: lanes, lanes: 1_0}}", ["t:3: units.c.lanes: '1_0' is not a whole number"]),
    ("units: {c: {kind: lanes, lanes: 1.5}}", ["t:3: units.c.lanes: '1.5' is not a whole number"]),
    (
        "units: {c: {kind: lanes, lanes: 1, efficiency: nan}}",
        ["t:3: units.c.efficiency: 'nan' is not a number"],
    ),
    (
        "units: {c: {kind: lanes, lanes: 1, efficiency: -inf}}",
        ["t:3: units.c.efficiency: '-inf' is not finite"],
    ),
    (
        "units: {c: {kind: lanes, lanes: 1, efficiency: 1e999}}",
        ["t:3: units.c.efficiency: '1e999' is not finite"],
    ),
    ("units: {c: {kind: array, shape: [1]}}", ["t:3: units.c.shape: item 2 is missing"]),
    ("units: {c: {kind: array, shape: [1, 2, 3]}}", ["t:3: units.c.shape: takes at most 2 item(s), found 3"]),
    ("units: {c: {kind: array, shape: [1, two]}}", ["t:3: units.c.shape[1]: 'two' is not a whole number"]),
    ("units: {c: 5}", ["t:3: units.c: '5' is not a mapping (key: value)"]),
    ("extends: other", ["t:3: extends: only a file can extend another"]),
    ("title: a\ntitle: b", ["t:4: duplicate key 'title', first given on line 3"]),
    ("title: &x a\nsource: *x", ["t:3: anchors (&x) are not allowed", "t:4: aliases (*x) are not allowed"]),
    (
        "title: !!python/name:os.system x",
        ["t:3: tags (tag:yaml.org,2002:python/name:os.system) are not allowed"],
    ),
    ("---\ntitle: a", ["t:3: only one document is allowed in a file"]),
    ("title: 'a", ["not valid YAML: while scanning a quoted scalar, found unexpected end of stream"]),
    ("notes: " + "[" * 33 + "]" * 33, ["t:3: nested deeper than 32 levels"]),
    ("title: a\0b", ["t:3: character U+0000 is not allowed"]),
    ('title: "a\\0b"', ["t:3: escapes for control characters are not allowed"]),
    ("? [a]\n: b", ["t:3: a key must be text"]),
    ("null: b", ["t:3: a key must be text"]),
]


def lines(error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


def test_good_file_is_typed_by_its_schema() -> None:
    machine = parse(GOOD, Machine)
    assert machine.clock == 940e6
    assert machine.memories["dram"].bandwidth == 400 * 2.0**30
    assert machine.memories["dram"].read is not None
    assert (machine.memories["dram"].read.value, machine.memories["dram"].read.unit) == (12.54e-9, "J/row")
    assert machine.units["matrix"].model_dump() == {"kind": "array", "shape": (16, 8)}
    assert (machine.window, machine.flag, machine.limit, machine.level) == (65536, True, "auto", 2)


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text[:30] for text, _ in BAD])
def test_every_problem_is_reported_in_plain_words(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(START + text, Machine, "t")
    found = lines(caught)
    assert len(found) == len(expected)
    for line, wanted in zip(found, expected, strict=True):
        assert line == wanted or (not wanted.startswith("t:") and line.endswith(wanted))


def test_empty_text_misses_its_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("", Machine, "t")
    assert lines(caught) == [
        "t:1: kind: this key is missing (allowed: gpu, spatial_array)",
        "t:1: clock: this key is missing; expected a frequency such as '940 MHz'",
    ]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("title: a\n" * 200, "t: too many problems; the rest was not read"),
        ("notes: [" + "[], " * 200 + "]", "and 100 more problems"),
    ],
)
def test_at_most_a_hundred_problems_are_shown(text: str, last: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(START + text, Machine, "t")
    assert len(lines(caught)) == 101
    assert lines(caught)[-1] == last


def test_spec_is_frozen_pickles_and_keeps_its_places() -> None:
    machine = parse(GOOD, Machine, "t")
    with pytest.raises(ValueError, match="frozen"):
        machine.clock = 1.0  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(machine))
    assert again == machine == parse(GOOD, Machine, "elsewhere")
    assert str(place_of(again, "memories.dram.read")) == "t:4"
    assert str(place_of(again, "memories.dram.absent")) == "t:4"
    assert str(place_of(again, "units.matrix.shape[1]")) == "t:6"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def test_changes_replace_values_by_dotted_path(good: Path) -> None:
    changes = {
        "memories.dram.bandwidth": "1 TB/s",
        "matrix.shape[1]": "4",
        "clock": "2 GHz",
        "dram.ports": "4",
    }
    machine = load(good, Machine, "arch", {**changes, "notes": "[a, b]"})
    dram = machine.memories["dram"]
    assert (dram.bandwidth, dram.ports, machine.clock, machine.notes) == (1e12, 4, 2e9, ["a", "b"])
    assert machine.units["matrix"].model_dump()["shape"] == (16, 4)
    assert str(place_of(machine, "clock")) == "clock=2 GHz"


def test_wrong_changes_are_reported_together(good: Path) -> None:
    good.write_text(GOOD.replace("  dram:", "  hbm: {bandwidth: 1 GB/s}\n  dram:"))
    changes = {
        "bandwidth": "1 TB/s",
        "drm.ports": "2",
        "clock": "fast",
        "dram.port": "1",
        "shape[2]": "1",
        ".": "2",
    }
    with pytest.raises(ConfigError) as caught:
        load(good, Machine, "arch", changes)
    assert lines(caught) == [
        "'bandwidth=1 TB/s' could mean any of memories.hbm.bandwidth, memories.dram.bandwidth",
        "'drm.ports=2': there is no 'drm.ports'",
        "'shape[2]=1': the list has no item 2",
        "'.=2' names no key",
        "clock=fast: clock: 'fast' is not a number with a unit; expected a frequency such as '940 MHz'",
        "dram.port=1: memories.dram.port: unknown key 'port'; did you mean 'ports'?",
    ]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_extends_merges_replaces_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        base=GOOD + "source: paper\nnotes: [a, b]\nsweep: {clock: [1 GHz]}\n",
        middle="extends: base.yaml\nclock: 1 GHz\nmemories:\n"
        "  dram: {ports: 2, read: null}\n  sram: {bandwidth: 1 TB/s}\n",
        top="extends: ./middle.yaml\nnotes: [c]\nmemories:\n  sram: null\n",
    )
    machine = load("top.yaml", Machine, "arch")
    assert origin(machine) == Path("top.yaml")
    assert (machine.kind, machine.clock, machine.notes) == ("gpu", 1e9, ["c"])
    assert (machine.source, machine.sweep) == (None, None)
    assert machine.memories.keys() == {"dram"}
    assert (machine.memories["dram"].ports, machine.memories["dram"].read) == (2, None)
    assert machine.memories["dram"].bandwidth == 400 * 2.0**30
    assert str(place_of(machine, "memories.dram.bandwidth")) == "base.yaml:4"
    assert str(place_of(machine, "clock")) == "middle.yaml:2"
    resolved = to_text(resolve("top.yaml", "arch"))
    assert "memories:\n  dram:\n    bandwidth: 400 GiB/s\n    ports: 2\n" in resolved
    assert parse(resolved, Machine) == machine


def test_extends_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        base="kind: gpu\nclock: 1\n",
        child="extends: base.yaml\nwindoww: 1\nmemories: {dram: null}\ntitel: null\n",
        a="extends: b.yaml\n",
        b="extends: a.yaml\n",
        gone="extends: nowhere.yaml\n",
        several="extends: [a, b]\n",
    )
    for name, expected in {
        "child": [
            "base.yaml:2: clock: '1' needs a unit; expected a frequency such as '940 MHz'",
            "child.yaml:2: windoww: unknown key 'windoww'; did you mean 'window'?",
            "child.yaml:3: memories.dram: has no value; expected a mapping (key: value)",
            "child.yaml:4: titel: nothing to remove: what this file extends has no such key",
        ],
        "a": ["b.yaml:1: extends: files extend each other in a cycle: a -> b -> a"],
        "gone": ["gone.yaml:1: extends: no machine 'nowhere.yaml'"],
        "several": ["several.yaml:1: extends: expected the name of one file"],
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(f"{name}.yaml", Machine, "arch")
        assert lines(caught) == expected


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("long.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    Path("latin.yaml").write_bytes(b"kind: gpu\ntitle: \xe9\n")
    Path("folder.yaml").mkdir()
    for name, expected in {
        "long.yaml": "long.yaml: this file is longer than 1 MiB",
        "latin.yaml": "latin.yaml:2: this file is not UTF-8 text",
        "folder.yaml": "folder.yaml: cannot read this file: Is a directory",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(Path(name), Machine, "arch")
        assert lines(caught) == [expected]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A room of shipped files, and another folder to stand in."""
    folder = tmp_path / "shipped"
    for name in ("fusemax", "flat", "deep/moba", "deep/twice", "also/twice"):
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(START)
    monkeypatch.setattr("dse.spec._folder", lambda _: folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_names_resolve_by_place(room: Path) -> None:
    assert list(shipped("arch")) == ["also/twice", "deep/moba", "deep/twice", "flat", "fusemax"]
    assert find("fusemax", "arch") == room / "fusemax.yaml"
    assert find("moba", "arch") == find("deep/moba", "arch") == room / "deep/moba.yaml"
    Path("fusemax.yaml").write_text(START)
    assert find("fusemax.yaml", "arch") == Path("fusemax.yaml")
    assert find("fusemax", "arch") == room / "fusemax.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arch/fusemax.yaml", "no file arch/fusemax.yaml here; the shipped machine is: fusemax"),
        ("fusemx", "no machine 'fusemx'; did you mean 'fusemax'?"),
        ("twice", "'twice' could be any of also/twice, deep/twice"),
        ("a/zzzz.yaml", "no file a/zzzz.yaml here, and no machine of that name"),
        ("x" * 5000, None),
    ],
)
@pytest.mark.usefixtures("room")
def test_unknown_names_say_what_is_near(name: str, message: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        find(name, "arch")
    assert message is None or str(caught.value) == message


def test_json_schema_accepts_what_the_loader_accepts() -> None:
    schema = json_schema(Machine)
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {
        "kind": "gpu",
        "clock": "940 MHz",
        "memories": {"dram": {"bandwidth": "400 GiB/s"}},
        "window": "64K",
    }
    jsonschema.validate(good, schema)
    jsonschema.validate({"extends": "base", "memories": {"dram": {"ports": 2, "read": None}}}, schema)
    for bad in (
        {"kind": "gpu"},
        {**good, "clock": "940"},
        {**good, "clok": "1 Hz"},
        {"extends": "a", "clok": "1 Hz"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)
