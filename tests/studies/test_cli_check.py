"""``dse check``: tells files apart, finds all errors of all files at once, names places and remedies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dse import spec
from dse.arch.machine import load_machine
from dse.studies.verbs import listing
from dse.studies.verbs.check import CHECKS, kind_of
from tests.studies.cli_runner import ROOT, dse

HEAD = "assumes: [test]\nsource: test\nfamily: test\ntitle: test\n"
BROKEN = {
    "unknown_key": (
        "extends: fusemax\nsource: s\nclok: 1 GHz\n",
        ":3: clok: unknown key 'clok'; did you mean 'clock'?",
    ),
    "missing_unit": ("extends: fusemax\nsource: s\nclock: 1\n", ":3: clock: '1' needs a unit"),
    "negative_size": (
        "extends: fusemax\nsource: s\nmemories:\n  global_buffer: {capacity: -3 MiB}\n",
        ":4: memories.global_buffer.capacity: '-3 MiB' must be",
    ),
    "undefined_rank": (
        HEAD + "ranks: {m: keys}\ninputs: {A: [m]}\neinsums:\n  - B[m] = A[k]\n",
        ":8: einsums.0: rank 'k' of 'A[k]' is not defined",
    ),
    "cyclic": (
        HEAD
        + "ranks: {m: keys}\ninputs: {A: [m]}\neinsums:\n  - B[m] = A[m] * C[m]\n  - C[m] = B[m] + A[m]\n",
        ":8: einsums.0: the cascade is cyclic: B needs C needs B",
    ),
    "extends_itself": ("extends: extends_itself.yaml\nclock: 1 GHz\n", "files extend each other in a cycle"),
    "yaml_syntax": ("kind: [spatial_array\nclock: 1 GHz\n", ":2:6: not valid YAML"),
    "no_mapping": (
        "extends: fusemax\nsource: s\nmapping: fusemx\n",
        ":3: mapping: no mapping 'fusemx'; did you mean 'fusemax'?",
    ),
    "uneven_heads": ("extends: bert\nsource: s\nheads: 7\nkv_heads: 2\n", "7 heads cannot share 2 key heads"),
    "no_such_einsum": (
        "extends: fusemax\nsource: s\nbinding: {array_2d: [QX]}\n",
        ":3: binding.array_2d[0]: cascade softmax_1pass has no Einsum 'QX'",
    ),
    "no_such_tensor": (
        "extends: fusemax\nsource: s\nstorage:\n  QX: {held: false}\n",
        ":4: storage.QX: cascade softmax_1pass has no tensor 'QX'",
    ),
    "wrong_option": (
        "extends: flat\noverflow: spill\nsource: s\noptions:\n  queries: {onchip: {storage: {Q: {bufered: yes}}}}\n",
        ":5: options.queries.onchip: ",
    ),
    "no_such_option": (
        "title: t\nsource: s\nmapping: flat\noptions:\n  quries: [onchip]\n  keys: [onchp]\n",
        ":5: options.quries: mapping flat has no option 'quries'; did you mean 'queries'?",
    ),
    "sweep_names": (
        "extends: fusemax\nsource: s\nsweep:\n  machine: [flt]\n  workload: [bert, brt]\n",
        ":5: sweep.workload[1]: no workload 'brt'; did you mean 'bert'?",
    ),
    "sweep_axis": (
        "title: t\nsource: s\nsweep:\n  workload: [bert]\n  seqence: [1K]\n",
        "'seqence' is neither a workload parameter nor a dotted machine key; did you mean 'sequence'?",
    ),
    "nothing_known": ("hello: 1\n", ":1: cannot tell what this file is"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_names_place_and_remedy(name: str, folder: Path) -> None:
    text, said = BROKEN[name]
    file = folder / f"{name}.yaml"
    file.write_text(text)
    ran = dse("check", f"{name}.yaml")
    assert ran.code == 2
    assert ran.out == ""
    assert said in ran.err
    assert all(line.startswith(("error: ", " ")) for line in ran.err.splitlines())
    assert f"{name}.yaml" in ran.err
    assert [path.name for path in folder.iterdir()] == [file.name]
    assert file.read_text() == text


def test_all_errors_of_all_files_come_together(folder: Path) -> None:
    for name, (text, _) in BROKEN.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "good.yaml").write_text("extends: bert\nsource: here\nlayers: 2\n")
    ran = dse("check", *(f"{name}.yaml" for name in BROKEN), "good.yaml", "nowhere.yaml")
    assert ran.code == 2
    assert re.fullmatch(r"ok  good.yaml  model, family softmax of \d+ shipped cascades\n", ran.out)
    assert all(said in ran.err for _, said in BROKEN.values())
    assert "error: no file nowhere.yaml here, and nothing of that name is shipped" in ran.err
    assert dse("check", ".").err.count("error: ") == ran.err.count("error: ") - 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fusemx", "no file fusemx here, and nothing of that name is shipped; did you mean 'fusemax'?"),
        ("machines/bert.yaml", "no file machines/bert.yaml here; the shipped one is: dse check bert"),
        ("empty", "empty: no YAML files in this folder"),
    ],
)
def test_a_missing_file_says_what_is_there(name: str, said: str, folder: Path) -> None:
    (folder / "empty").mkdir()
    ran = dse("check", name)
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: {said}\n")


@pytest.mark.parametrize("kind", [kind for kind in listing.SHELVES if kind != "mappers"])
def test_shipped_files_are_good_and_are_what_their_place_says(kind: str) -> None:
    for path in listing.files(kind).values():
        assert kind_of(path) == listing.SHELVES[kind].kind
        ran = dse("check", path)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith(f"ok  {listing.shown(path)}  {listing.SHELVES[kind].kind}")


def test_tables_are_good() -> None:
    ran = dse("check", ROOT / "arch" / "tables")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == len(list((ROOT / "arch" / "tables").glob("*.yaml")))


def test_a_name_means_every_shipped_file_of_that_name() -> None:
    ran = dse("check", "fusemax")
    paths = [line.split()[1] for line in ran.out.splitlines()]
    assert {Path(path).parent.name for path in paths} >= {"arch", "mappings"}
    assert dse("check", "fusemax", ROOT / "arch" / "fusemax.yaml").out == ran.out


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("extends: fusemax\nclock: 1 GHz\n", "machine"),
        ("extends: fusemax\nsweep: {workload: [bert]}\n", "machine"),
        ("extends: bert\nlayers: 1\n", "model"),
        ("extends: flat\nbinding: {}\n", "mapping"),
        ("extends: flat\nsource: s\noptions: {queries: {offchip: {}}}\n", "mapping"),
        ("mapping: flat\noptions: {}\n", "space"),
        ("title: t\nsweep: {workload: [bert]}\n", "sweep"),
        ("kind: spatial_array\nmemries: {}\n", "machine"),
    ],
)
def test_files_are_told_apart_by_their_keys(text: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert kind_of(path) == kind
    assert kind in CHECKS


def test_a_file_without_telling_keys_is_known_by_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "workloads" / "models" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("extends: bert\nsource: mine\n")
    assert kind_of(path) == "model"


def test_resolved_text_is_the_same_machine(folder: Path) -> None:
    ran = dse("check", "--resolved", ROOT / "arch" / "fusemax_cascade.yaml")
    assert ran.code == 0
    copy = folder / "copy.yaml"
    copy.write_text(ran.out)
    assert "extends" not in spec.resolve(copy, "arch").plain()  # type: ignore[operator]
    left, right = load_machine(copy), load_machine("fusemax_cascade")
    assert (left.clock_hz, left.mapping) == (right.clock_hz, right.mapping)
    assert repr(left).replace("'copy'", "'fusemax_cascade'") == repr(right)


def test_a_damaged_trace_is_an_error(folder: Path) -> None:
    (folder / "trace.parquet").write_bytes(b"no parquet")
    ran = dse("check", "trace.parquet")
    assert ran.code == 2
    assert "trace.parquet: not a readable parquet file" in ran.err
