from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import ConfigError
from dse.studies.store import Store, point_hash, read
from tests.studies import sweeper

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 40
FINAL = ("results.parquet", "results.csv", "components.parquet", "meta.json")
FAST_KILLS, SLOW_KILLS = 3, 20


def final_bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FINAL}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    sweeper.run(folder, SIZE, 5)
    return final_bytes(folder)


def started(folder: Path, batches: int = 2) -> Path:
    """A folder in which a sweep was left after some batches of five points."""
    with Store.open(folder, sweeper.CONTENT) as store:
        for i in range(batches):
            indices = list(range(5 * i, 5 * i + 5))
            store.add(sweeper.rows(indices, SIZE), sweeper.components(indices, SIZE))
    return folder


def kill_and_resume(folder: Path, kills: int, seed: int) -> None:
    """SIGKILL the sweep at random moments, first while batches finish, then while files are merged."""
    command = [sys.executable, sweeper.__file__, str(folder), str(SIZE), "1"]
    moments = random.Random(seed)
    for i in range(kills):
        merging = i >= kills * 3 // 4
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for k, line in enumerate(process.stdout):
                if line == "finishing\n" or (not merging and k >= moments.randrange(3)):
                    break
            time.sleep(moments.random() * 0.02)
            process.send_signal(signal.SIGKILL)
    sweeper.run(folder, SIZE, 7)


def test_killed_sweep_ends_with_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    kill_and_resume(tmp_path / "out", FAST_KILLS, seed=1)
    assert final_bytes(tmp_path / "out") == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_many_kills_end_with_the_same_bytes(tmp_path: Path, undisturbed: dict[str, bytes], seed: int) -> None:
    kill_and_resume(tmp_path / "out", SLOW_KILLS, seed)
    assert final_bytes(tmp_path / "out") == undisturbed


def test_batches_and_their_order_leave_no_trace(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    sweeper.run(tmp_path / "one", SIZE, SIZE)
    sweeper.run(tmp_path / "single", SIZE, 1, backwards=True)
    assert final_bytes(tmp_path / "one") == final_bytes(tmp_path / "single") == undisturbed


def test_finished_batch_survives_and_is_not_computed_again(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    with Store.open(folder, sweeper.CONTENT) as store:
        assert store.finished == set(sweeper.order(SIZE)[:10])
        assert sorted(store.rows()["batch"]) == list(range(10))


def test_finished_sweep_reopens_as_finished(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = tmp_path / "out"
    first = sweeper.run(folder, SIZE, 9)
    (folder / "results.csv").unlink()
    with Store.open(folder, sweeper.CONTENT) as store:
        assert len(store.finished) == SIZE
    pd.testing.assert_frame_equal(sweeper.run(folder, SIZE, 9), first)
    assert final_bytes(folder) == undisturbed


def test_point_added_twice_counts_once(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    with Store.open(folder, sweeper.CONTENT) as store:
        indices = list(range(8, SIZE))
        store.add(sweeper.rows(indices, SIZE), sweeper.components(indices, SIZE))
        frame = store.finish(sweeper.order(SIZE), {})
    assert list(frame["batch"]) == list(range(SIZE))
    components = read(folder).components
    assert components is not None
    expected = sweeper.components(list(range(SIZE)), SIZE)
    pd.testing.assert_frame_equal(components, expected, check_dtype=False)


def test_read_returns_exactly_what_was_added(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sweeper.run(folder, SIZE, 6)
    results = read(folder)
    expected = sweeper.rows(list(range(SIZE)), SIZE)[list(results.rows)]
    pd.testing.assert_frame_equal(results.rows, expected, check_dtype=False)
    assert results.meta["points"] == SIZE
    csv = pd.read_csv(folder / "results.csv")
    assert (csv["latency_s"].dropna() == expected["latency_s"].dropna()).all()


def test_nothing_is_written_before_the_first_batch(tmp_path: Path) -> None:
    with Store.open(tmp_path / "deep" / "out", sweeper.CONTENT):
        pass
    assert not list(tmp_path.iterdir())


def test_other_content_is_refused_naming_what_changed(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = {"sweep": "1f2e", "machine fusemax": "ffff", "machine flat": "1234"}
    with pytest.raises(ConfigError) as caught:
        Store.open(folder, other)
    message = str(caught.value)
    assert "machine fusemax changed (a0b1 to ffff)" in message
    assert "machine flat is new" in message
    assert "workload bert is gone" in message
    assert "sweep changed" not in message
    assert "--fresh" in message
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_fresh_replaces_other_content_only_when_something_is_computed(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    sweeper.run(folder, SIZE, 10)
    (folder / "figures").mkdir()
    (folder / "figures" / "speedup.png").write_bytes(b"old")
    with Store.open(folder, {"sweep": "other"}, fresh=True) as store:
        assert not store.finished
        assert (folder / "results.csv").exists()
        store.add(sweeper.rows([0], SIZE))
        assert not (folder / "results.csv").exists()
        assert not (folder / "figures").exists()
        store.finish(sweeper.order(SIZE)[:1], {})
    assert len(read(folder).rows) == 1


def test_fresh_computes_the_same_content_again(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = started(tmp_path / "out")
    with Store.open(folder, sweeper.CONTENT, fresh=True) as store:
        assert not store.finished
    sweeper.run(folder, SIZE, 8, fresh=True)
    assert final_bytes(folder) == undisturbed


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty"])
def test_damaged_part_is_named_and_can_be_deleted(
    tmp_path: Path, undisturbed: dict[str, bytes], damage: str
) -> None:
    folder = started(tmp_path / "out")
    part = min((folder / "journal").glob("part-*"))
    data = bytearray(part.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 1
    part.write_bytes(data[: {"truncated": len(data) // 2, "one bit": len(data), "empty": 0}[damage]])
    with pytest.raises(ConfigError) as caught:
        Store.open(folder, sweeper.CONTENT)
    assert str(part) in str(caught.value)
    assert "delete this file" in str(caught.value)
    part.unlink()
    sweeper.run(folder, SIZE, 7)
    assert final_bytes(folder) == undisturbed


def test_half_written_files_are_ignored_and_cleared(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    folder = started(tmp_path / "out")
    left = [folder / "journal" / ".part-0123456789abcdef.arrow.tmp", folder / ".results.csv.tmp"]
    for path in left:
        path.write_bytes(b"PAR1 half")
    sweeper.run(folder, SIZE, 7)
    assert not any(path.exists() for path in left)
    assert final_bytes(folder) == undisturbed


def test_kill_during_removal_does_not_revive_old_parts(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    (folder / "journal" / "meta.json").unlink()  # what --fresh removes first
    with Store.open(folder, {"sweep": "other"}) as store:
        assert not store.finished
        store.add(sweeper.rows([20], SIZE))
        assert len(list((folder / "journal").glob("part-*"))) == 1


@pytest.mark.parametrize("name", ["results.parquet", "components.parquet"])
def test_damaged_final_file_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    sweeper.run(folder, SIZE, 20)
    data = bytearray((folder / name).read_bytes())
    data[100] ^= 4
    (folder / name).write_bytes(bytes(data))
    for attempt in (lambda: Store.open(folder, sweeper.CONTENT), lambda: read(folder)):
        with pytest.raises(ConfigError, match=name):
            attempt()


def test_folder_of_other_files_is_refused_even_fresh(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    for fresh in (False, True):
        with pytest.raises(ConfigError, match="no sweep wrote"):
            Store.open(tmp_path, sweeper.CONTENT, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ConfigError, match="is a file"):
        Store.open(tmp_path / "thesis.tex", sweeper.CONTENT)


def test_two_sweeps_cannot_share_a_folder(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    with Store.open(folder, sweeper.CONTENT):
        with pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
            Store.open(folder, sweeper.CONTENT)
        second = subprocess.run(
            [sys.executable, sweeper.__file__, str(folder), str(SIZE), "5"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"in use by process {os.getpid()}" in second.stderr
    Store.open(folder, sweeper.CONTENT).close()


def test_second_to_write_a_new_folder_joins_or_is_refused(tmp_path: Path) -> None:
    late = Store.open(tmp_path / "out", sweeper.CONTENT)
    other = Store.open(tmp_path / "out", {"sweep": "other"})
    started(tmp_path / "out", batches=1)
    late.add(sweeper.rows([4, 5], SIZE), sweeper.components([4, 5], SIZE))
    assert late.finished == set(sweeper.order(SIZE)[:6])
    late.close()
    with pytest.raises(ConfigError, match="sweep changed"):
        other.add(sweeper.rows([4, 5], SIZE))
    other.close()


def test_lock_file_of_a_dead_process_does_not_matter(tmp_path: Path) -> None:
    folder = started(tmp_path / "out")
    (folder / ".lock").write_text("process 1 on elsewhere\n")
    Store.open(folder, sweeper.CONTENT).close()


def test_text_and_numbers_in_one_column_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path / "out", sweeper.CONTENT) as store:
        store.add(pd.DataFrame({"point": ["a"], "batch": [1]}))
        store.add(pd.DataFrame({"point": ["b"], "batch": ["many"]}))
        with pytest.raises(ConfigError, match="batch"):
            store.finish(["a", "b"], {})


def test_read_says_why_there_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no results"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="interrupted"):
        read(started(tmp_path / "out"))
    (tmp_path / "meta.json").write_text(json.dumps(["not ours"]))
    with pytest.raises(ConfigError, match="not written by dse"):
        read(tmp_path)


def test_unwritable_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store.open(tmp_path / "file" / "out", sweeper.CONTENT)
    with pytest.raises(ConfigError, match="cannot be created"):
        store.add(sweeper.rows([0], SIZE))


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=5), st.randoms())
def test_point_hash_ignores_key_order(parts: dict[str, object], shuffler: random.Random) -> None:
    items = list(parts.items())
    shuffler.shuffle(items)
    assert point_hash(dict(items)) == point_hash(parts)
    assert len(point_hash(parts)) == 16


@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40))
def test_point_hash_tells_values_apart(one: int, other: int) -> None:
    assert point_hash({"n": one}) == point_hash({"n": float(one)})
    assert (point_hash({"n": one}) == point_hash({"n": other})) == (one == other)
    assert point_hash({"n": one}) != point_hash({"n": str(one)})
