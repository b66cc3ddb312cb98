from __future__ import annotations

import numpy as np
import pytest

from hypertune.bounds.dual import DualFunction
from hypertune.errors import TaskError


def test_values_on_pieces_and_at_their_ends():
    dual = DualFunction(np.array([0.0, 0.25, 0.5, 1.0]), np.array([0.1, 0.9, 0.4]))
    np.testing.assert_array_equal(dual([[0.0, 0.2], [0.25, 0.5]]), [[0.1, 0.1], [0.9, 0.4]])
    assert dual(1.0) == 0.4
    assert dual.spread == pytest.approx(0.8)


@pytest.mark.parametrize("point", [-0.1, 1.1, float("nan")])
def test_points_outside_the_range_are_refused(point):
    with pytest.raises(TaskError, match="outside the range"):
        DualFunction(np.array([0.0, 1.0]), np.array([0.5]))([0.5, point])


@pytest.mark.parametrize(
    ("edges", "values"),
    [
        ([0.0, 1.0], [0.1, 0.2]),
        ([0.0], []),
        ([0.0, 0.0], [1.0]),
        ([1.0, 0.0], [1.0]),
        ([0.0, np.inf], [1.0]),
        ([0.0, 1.0], [np.nan]),
    ],
)
def test_what_is_no_step_function_is_refused(edges, values):
    with pytest.raises(TaskError, match="are not"):
        DualFunction(np.array(edges), np.array(values))
