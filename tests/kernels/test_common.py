"""Shared parts of kernels: tile extents and checks of index tensors."""

from __future__ import annotations

import pytest

from dse.errors import WorkloadError

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from dse.kernels.common import check_index, padded, standard_normal  # noqa: E402


@pytest.mark.parametrize(("depth", "extent"), [(1, 16), (16, 16), (17, 32), (40, 64), (128, 128)])
def test_depths_are_padded_to_powers_of_two_from_16(depth: int, extent: int) -> None:
    assert padded(depth) == extent


def test_inputs_depend_on_the_seed_and_the_order_only() -> None:
    shapes = {"q": (2, 3), "k": (4,)}
    again = standard_normal(shapes, "fp32", 7)
    for name, tensor in standard_normal(shapes, "fp32", 7).items():
        assert torch.equal(tensor, again[name])
    assert not torch.equal(again["q"], standard_normal(shapes, "fp32", 8)["q"])


def test_index_tensors_must_fit() -> None:
    index = torch.tensor([0, 3], dtype=torch.int32)
    check_index("columns", index, (None,), limit=4)
    check_index("columns", index[:0], (0,), limit=0)
    with pytest.raises(WorkloadError, match="columns must lie from 0 to 2, not 0 to 3"):
        check_index("columns", index, (2,), limit=3)
    with pytest.raises(WorkloadError, match=r"columns must be int32 of shape \(3,\)"):
        check_index("columns", index, (3,))
    with pytest.raises(WorkloadError, match="must be int32"):
        check_index("columns", index.long(), (2,))
