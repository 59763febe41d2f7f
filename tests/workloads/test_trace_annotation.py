"""Annotations load without torch, give typed parameters, and report every name that refers to nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dse.errors import ConfigError, WorkloadError
from dse.spec import shipped
from dse.workloads.annotation import ROOM, load_annotation
from dse.workloads.cascade_file import load_cascade

if TYPE_CHECKING:
    from pathlib import Path

ANNOTATION = load_annotation("flash_forward")


@pytest.mark.parametrize("name", shipped(ROOM))
def test_every_kernel_has_a_cascade_a_reference_and_a_tolerance_for_each_precision(name: str) -> None:
    annotation = load_annotation(name)
    load_cascade(annotation.cascade)
    folder = shipped(ROOM)[name].parent
    assert (folder / f"{name}.py").is_file()
    assert (folder / f"{name}_naive.py").is_file()
    assert set(annotation.tolerance) == set(annotation.parameters["precision"].choices)


def test_loading_needs_neither_torch_nor_triton() -> None:
    code = (
        "import sys; from dse.workloads.annotation import load_annotation; load_annotation('flash_forward');"
        "print({'torch', 'triton', 'numpy', 'pyarrow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_parameters_take_their_default_or_that_of_another() -> None:
    values = ANNOTATION.resolve({"sequence": "4K", "heads": 8})
    assert (values["sequence"], values["queries"]) == (4096, 4096)
    assert (values["heads"], values["kv_heads"]) == (8, 8)
    assert (values["causal"], values["precision"], values["key_lengths"]) == (False, "fp16", ())
    assert ANNOTATION.resolve({"sequence": 64, "queries": 1})["queries"] == 1


@pytest.mark.parametrize("lengths", ["3,1", (3, 1), [3, 1]])
def test_typed_values_and_text_mean_the_same(lengths: object) -> None:
    values = ANNOTATION.resolve({"causal": True, "key_lengths": lengths, "precision": "fp32"})
    assert (values["causal"], values["key_lengths"], values["precision"]) == (True, (3, 1), "fp32")
    assert ANNOTATION.resolve(values) == values


def test_lengths_stand_in_the_mask_where_there_is_one_and_pairs_come_from_a_mask(tmp_path: Path) -> None:
    text = shipped(ROOM)["unfused"].read_text()
    doubled = tmp_path / "doubled.yaml"
    doubled.write_text(text.replace("    mask:\n", "    lengths: {m: key_lengths}\n    mask:\n"))
    with pytest.raises(ConfigError, match="a launch with a mask gives its lengths there"):
        load_annotation(doubled)
    unmasked = tmp_path / "unmasked.yaml"
    unmasked.write_text(text.replace("pairs_of: softmax_kernel", "pairs_of: score_kernel"))
    with pytest.raises(ConfigError, match=r"pairs_of: there is no launch with a mask 'score_kernel'"):
        load_annotation(unmasked)


def test_wrong_parameters_are_reported_together_and_once() -> None:
    with pytest.raises(WorkloadError) as caught:
        ANNOTATION.resolve(
            {"cusal": "1", "sequence": "many", "heads": 0, "causal": "maybe", "precision": "fp8"}
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "cusal: unknown parameter; did you mean 'causal'?",
        "heads: '0' must be more than 0",
        "sequence: 'many' is not a count; write a whole number, or one with K, M, G or T such as 64K",
        "causal: 'maybe' is neither true nor false",
        "precision: 'fp8' is none of fp16, bf16, fp32; did you mean 'fp32'?",
    ]


def test_a_parameter_without_default_must_be_given() -> None:
    heads = ANNOTATION.parameters["heads"].model_copy(update={"default": None})
    annotation = ANNOTATION.model_copy(update={"parameters": {**ANNOTATION.parameters, "heads": heads}})
    with pytest.raises(WorkloadError, match="heads: needs a value: it has no default"):
        annotation.resolve({})
    assert annotation.resolve({"heads": 2})["kv_heads"] == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kv_heads: {like: heads",
            "kv_heads: {like: head",
            "parameters.kv_heads.like: there is no parameter with",
        ),
        ("value_dim: {like: head_dim", "value_dim: {like: value_dim", "with its own value 'value_dim'"),
        ("m: sequence", "m: sequenc", "ranks.m: there is no parameter 'sequenc'; did you mean 'sequence'?"),
        (
            "k: {tensor: K, ranks: [b, g, m, e]}",
            "k: {tensor: K, ranks: [b, g, n, e]}",
            "launches.flash_forward_kernel.tensors.k.ranks: there is",
        ),
        (
            "loads: k}",
            "loads: keys}",
            "launches.flash_forward_kernel.steps.keys.loads: there is no tensor argument 'keys'",
        ),
        (
            "tile: m0",
            "tile: m1",
            "launches.flash_forward_kernel.steps.keys.tile: there is no tiled rank 'm1'",
        ),
        (
            "QK: [p, m0, e]",
            "QK: [p, m, e]",
            "launches.flash_forward_kernel.dots.QK: there is no tiled rank 'm'",
        ),
        (
            "scores: [p, m0]",
            "scores: [p, n]",
            "launches.flash_forward_kernel.mask.scores: there is no tiled rank 'n'",
        ),
        ("outer: [b, h]", "outer: [b, x]", "outer: there is no rank 'x'"),
        (
            "{default: 64, unit: elements",
            "{default: 6x, unit: elements",
            "parameters.head_dim.default: '6x' is not",
        ),
        ("cascade: softmax_flash", "cascada: softmax_flash", "unknown key 'cascada'"),
    ],
)
def test_names_that_refer_to_nothing_have_a_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = shipped(ROOM)["flash_forward"].read_text()
    assert text.count(old) == 1
    path = tmp_path / "kernel.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_annotation(path)
    assert any(message in str(problem) for problem in caught.value.problems), str(caught.value)
    assert all(problem.place and problem.place.line for problem in caught.value.problems)
