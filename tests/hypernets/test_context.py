"""Where the batch is: alignment of per-example rows against loops over examples."""

from __future__ import annotations

import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.hypernets.context import Context


@pytest.mark.parametrize(
    ("batch_axis", "feature_axis"), [(0, 1), (0, 2), (0, -1), (1, 0), (1, 2), (2, 0), (2, 1), (-1, 0), (-2, -1)]
)
def test_rows_meet_their_example_and_feature(batch_axis: int, feature_axis: int) -> None:
    shape = [5, 5, 5]
    shape[batch_axis], shape[feature_axis] = 3, 4
    x, rows = torch.randn(shape), torch.randn(3, 4)
    made = x * Context({"a.*": batch_axis}).align(rows, x, path="a.b", feature_axis=feature_axis)
    for i in range(3):
        for j in range(4):
            got = made.movedim((batch_axis, feature_axis), (0, 1))[i, j]
            assert torch.equal(got, x.movedim((batch_axis, feature_axis), (0, 1))[i, j] * rows[i, j])


def test_merged_batches_vary_slowest() -> None:
    x, rows = torch.ones(6, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    context = Context({"a": "merged"})
    assert torch.equal(context.align(rows, x, path="a", feature_axis=-1), rows[[0, 0, 1, 1, 2, 2]])
    assert torch.equal(context.examples(torch.arange(12).reshape(6, 2), 3, path="a")[1], torch.tensor([4, 5, 6, 7]))


def test_a_shared_row_needs_no_batch() -> None:
    assert Context().align(torch.ones(1, 2), torch.ones(7, 2, 5), path="a", feature_axis=1).shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("axes", "shape", "feature_axis", "fix"),
    [
        pytest.param({}, (5, 3, 4), -1, r"batch_axes=\{a: 1\}", id="on another axis"),
        pytest.param({}, (6, 4), -1, r"batch_axes=\{a: merged\}", id="merged"),
        pytest.param({}, (5, 4), -1, r"exclude 'a'", id="nowhere"),
        pytest.param({"a": "merged"}, (5, 4), -1, r"exclude 'a'", id="no multiple"),
        pytest.param({"a": 2}, (3, 4), -1, r"batch_axes=\{a: 0\}", id="no such axis"),
        pytest.param({"a": -3}, (3, 4), -1, r"batch_axes=\{a: 0\}", id="no such negative axis"),
        pytest.param({}, (3, 4), 0, "model.a", id="the axis of the features"),
        pytest.param({"a": "merged"}, (3,), 0, "model.a", id="an input without a batch"),
    ],
)
def test_a_batch_elsewhere_is_refused(
    axes: dict[str, int], shape: tuple[int, ...], feature_axis: int, fix: str
) -> None:
    features = shape[feature_axis]
    with pytest.raises(FamilyError, match=rf"(?s)model\.a.*batch of 3.*{fix}|{fix}.*batch of 3"):
        Context(axes).align(torch.ones(3, features), torch.ones(shape), path="a", feature_axis=feature_axis)


def test_using_restores_what_was_before_also_after_an_error() -> None:
    context = Context()
    outer = torch.zeros(1, 2)
    with context.using(outer, {"a": torch.ones(1)}):
        with pytest.raises(ZeroDivisionError), context.using(None):
            _ = 1 / int(context.response is not None)
        assert context.response is outer
        assert context.values is not None
    assert context.response is None
    assert context.values is None
