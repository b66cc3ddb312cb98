from __future__ import annotations

import dataclasses
import math

import pytest

from hypertune.bounds.bound import Bound, check_bound
from hypertune.bounds.piecewise import known_oscillations, piecewise_constant
from hypertune.errors import BoundError


@pytest.mark.parametrize("count", [1, 3, 10, 126, 1000, 999_983, 2**39 + 1])
def test_counts_survive_their_logarithm(count):
    assert known_oscillations(count).value == count


def test_counts_beyond_floats_are_infinite_with_a_finite_logarithm():
    bound = piecewise_constant(2**5000)
    assert bound.value == math.inf
    assert bound.log2 == 5001


def test_a_bound_is_for_its_own_target():
    bound = piecewise_constant(10)
    check_bound(bound, "training optimum")
    with pytest.raises(BoundError, match="another function") as caught:
        check_bound(bound, "validation at training optimum")
    assert "held-out tasks" in str(caught.value)


def test_an_order_is_never_computed_with():
    order: Bound = dataclasses.replace(piecewise_constant(10), kind="order")
    with pytest.raises(BoundError, match="up to a constant"):
        check_bound(order, "training optimum")
