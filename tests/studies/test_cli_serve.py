"""``dse serve``: rows for the limit and each rate, refused parameters."""

from __future__ import annotations

import json

import pytest

from tests.studies.cli_runner import dse

SMALL = ("--prompt", "64-128", "--tokens", "8", "--requests", "12", "--batch", "4")


def test_rows_from_the_limit_up() -> None:
    ran = dse("serve", "duplex", "mixtral_8x7b", *SMALL, "--rate", "0.01", "--rate", "5K", "--format", "json")
    assert ran.code == 2
    ran = dse(
        "serve", "duplex", "mixtral_8x7b", *SMALL, "--rate", "0.01", "--rate", "500", "--format", "json"
    )
    assert ran.code == 0, ran.err
    limit, calm, busy = json.loads(ran.out)
    assert calm["tbt_p50_s"] == pytest.approx(limit["tbt_p50_s"], rel=1e-6)
    assert calm["ttft_p99_s"] == pytest.approx(limit["ttft_p99_s"], rel=1e-6)
    assert busy["tokens_per_s"] > calm["tokens_per_s"]
    assert busy["ttft_p99_s"] > limit["ttft_p99_s"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("duplex", "mixtral_8x7b", "-p", "batch=4"), "set by serving itself"),
        (("duplex", "mixtral_8x7b", "--prompt", "x"), "--prompt"),
        (("fusemax", "bert"), "needs a system"),
        (("duplex", "mixtral"), "did you mean 'mixtral_8x7b'"),
    ],
)
def test_wrong_questions_are_answered(arguments: tuple[str, ...], said: str) -> None:
    ran = dse("serve", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_a_batch_that_runs_together_is_one_row() -> None:
    lengths = ("--prompt", "512", "--tokens", "100", "--batch", "4")
    ran = dse("serve", "dgx_attacc", "gpt3_175b", "--together", *lengths, "--format", "json")
    assert ran.code == 0, ran.err
    (row,) = json.loads(ran.out)
    assert row["tokens_per_s"] == pytest.approx(4 * 99 / row["decode_s"])
    assert 99 * row["first_step_s"] < row["decode_s"] < 99 * row["last_step_s"]
    refused = dse("serve", "dgx_attacc", "gpt3_175b", "--together", "--prompt", "5-9")
    assert refused.code == 2
    assert "--together" in refused.err
