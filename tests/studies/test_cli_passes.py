"""``dse passes``: equals the analysis it prints, in symbols without sizes and in bytes and counts with them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from dse.workloads.cascade_file import load_cascade
from dse.workloads.passes import analyse_passes, rank_groups
from dse.workloads.sizes import complete_sizes
from tests.studies.cli_runner import dse

SIZES = ["-p", "e=64", "-p", "f=32", "-p", "m=1K", "-p", "p=256"]
FAMILY = ("softmax_1pass", "softmax_2pass", "softmax_3pass", "softmax_deferred", "softmax_flash")


def passes(*arguments: str) -> dict[str, Any]:
    ran = dse("passes", *arguments, "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = json.loads(ran.out)
    return found


def rows(*arguments: str) -> list[dict[str, str]]:
    ran = dse("passes", *arguments, "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    return list(csv.DictReader(io.StringIO(ran.out)))


@pytest.mark.parametrize("name", FAMILY)
def test_passes_and_barriers_are_those_of_the_analysis(name: str) -> None:
    cascade = load_cascade(name)
    (found,) = passes(name)["cascades"]
    assert [tuple(group["ranks"]) for group in found["groups"]] == list(rank_groups(cascade))
    for group in found["groups"]:
        wanted = analyse_passes(cascade, tuple(group["ranks"]))
        assert group["passes"] == wanted.passes
        assert [barrier["after_pass"] for barrier in group["barriers"]] == [b.after for b in wanted.barriers]
        for barrier, other in zip(group["barriers"], wanted.barriers, strict=True):
            assert [(live["tensor"], tuple(live["ranks"])) for live in barrier["live"]] == [
                (live.tensor, live.ranks) for live in other.live
            ]
            assert barrier["between"] == list(other.summaries)
    assert {e["einsum"]: e["pass"] for e in found["einsums"]} == {
        e.name: {
            group["rank_group"]: next(
                row.level
                for row in analyse_passes(cascade, tuple(group["ranks"])).einsums
                if row.einsum == e.name
            )
            for group in found["groups"]
        }
        for e in cascade.einsums
    }


def test_operation_counts_are_those_of_the_cascade() -> None:
    for name in FAMILY:
        tile = ["-p", "m0=128"] if load_cascade(name).partition else []
        (found,) = passes(name, *SIZES, *tile)["cascades"]
        cascade = load_cascade(name)
        given = {"e": 64, "f": 32, "m": 1024, "p": 256} | ({"m0": 128} if tile else {})
        sizes = complete_sizes(cascade, given)
        totals: dict[str, float] = {}
        for counts in cascade.operation_counts(sizes).values():
            for operator, count in counts.items():
                totals[operator] = totals.get(operator, 0.0) + float(count[0])
        assert found["operations"] == totals


def test_bytes_of_a_barrier_are_of_one_fiber_of_all_and_moved() -> None:
    barriers = [row for row in rows("softmax_3pass", *SIZES) if row["after_pass"]]
    assert [(row["rank_group"], row["passes"], row["live"]) for row in barriers] == [
        ("m", "3", "QK[m,p]"),
        ("m", "3", "SN[m,p]"),
    ]
    for row in barriers:
        assert float(row["fiber_bytes"]) == 1024 * 2
        assert float(row["keep_bytes"]) == 1024 * 256 * 2
        assert float(row["traffic_bytes"]) == 2 * 1024 * 256 * 2
    (again,) = [row for row in rows("dot_then_scale", "-p", "k=10") if row["after_pass"]]
    assert (float(again["keep_bytes"]), float(again["traffic_bytes"])) == (20.0, 20.0)


def test_precision_batch_and_heads_scale_what_they_should() -> None:
    plain, many = (
        next(row for row in rows("softmax_3pass", *SIZES, *more) if row["after_pass"])
        for more in ([], ["-p", "precision=fp32", "-p", "b=3", "-p", "h=5", "-p", "g=2"])
    )
    assert float(many["fiber_bytes"]) == 2 * float(plain["fiber_bytes"])
    assert float(many["keep_bytes"]) == 2 * 2 * float(plain["keep_bytes"])
    assert float(many["traffic_bytes"]) == 2 * 2 * 15 * float(plain["traffic_bytes"])


def test_the_tile_level_of_the_one_pass_cascade_does_not_grow_with_keys() -> None:
    kept = [
        [
            row["keep_bytes"]
            for row in rows("softmax_1pass", "-p", f"m={keys}", "-p", "p=256", "-p", "m0=128")
            if row["level"] == "tile"
        ]
        for keys in ("1K", "64K")
    ]
    assert kept[0] == kept[1] == [str(128.0 * 256.0 * 2.0)]


def test_sizes_may_be_missing_and_follow_from_others() -> None:
    (found,) = passes("softmax_1pass", "-p", "m=1K")["cascades"]
    assert found["sizes"] == {"m": 1024}
    (found,) = passes("softmax_1pass", "-p", "m1=8", "-p", "m0=128")["cascades"]
    assert found["sizes"] == {"m1": 8, "m0": 128, "m": 1024}
    assert all(value is None for value in passes("softmax_3pass")["cascades"][0]["operations"].values())


def test_a_model_compares_the_cascades_of_its_family() -> None:
    found = passes("bert", "-p", "sequence=4K", "-p", "m0=256")
    assert {row["cascade"] for row in found["cascades"]} >= set(FAMILY)
    assert {row["family"] for row in found["cascades"]} == {"softmax"}
    assert found["instances"] == 12
    table = dse("passes", "bert", "-p", "sequence=4K").out
    assert "softmax_1pass" in table
    assert "note: what depends on m0, m1" in table


def test_a_model_with_a_cascade_equals_that_cascade_at_its_sizes() -> None:
    model = passes("bert", "-p", "sequence=4K", "-p", "batch=2", "-p", "cascade=softmax_3pass")
    alone = passes(
        "softmax_3pass", *("-p", "e=64", "-p", "f=64", "-p", "m=4K", "-p", "p=4K", "-p", "b=2", "-p", "h=12")
    )
    assert model["cascades"] == alone["cascades"]
    layers = passes("bert", "-p", "sequence=4K", "-p", "cascade=softmax_3pass", "-p", "scope=model")
    assert layers["instances"] == 12 * 12
    exps = model["cascades"][0]["operations"]["exp"]
    np.testing.assert_equal(exps, 24 * 4096.0**2)


def test_masks_are_said_not_to_count() -> None:
    assert "causal mask is not counted" in dse("passes", "bert", "-p", "sequence=4K", "-p", "causal=true").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["softmax_1pas"], "no workload 'softmax_1pas'; did you mean 'softmax_1pass'?"),
        (["softmax_1pass", "-p", "m2=4"], "-p m2: softmax_1pass has no rank 'm2'; did you mean 'm"),
        (["softmax_1pass", "-p", "m=0"], "rank 'm' must be a positive whole number"),
        (["softmax_1pass", "-p", "m=4 keys"], "-p m: '4 keys' is not a count"),
        (["softmax_1pass", "-p", "m=100", "-p", "m0=64"], "does not split into whole tiles"),
        (["softmax_1pass", "-p", "m"], "-p: 'm' is not key=value"),
        (["softmax_1pass", "-p", "precision=fp17"], "did you mean 'fp16'?"),
        (["bert"], "-p sequence: is missing"),
        (["bert", "-p", "sequence=1K", "-p", "seqence=1K"], "did you mean 'sequence'?"),
        (["bert", "-p", "sequence=1K", "-p", "cascade=linear_attention"], "is of family softmax, cascade"),
        (
            ["bert", "-p", "sequence=1K", "-p", "cascade=softmax_9pass"],
            "no cascade 'softmax_9pass'; did you mean",
        ),
    ],
)
def test_wrong_parameters_are_explained(arguments: list[str], said: str) -> None:
    ran = dse("passes", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
