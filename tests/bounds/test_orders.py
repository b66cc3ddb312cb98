from __future__ import annotations

import pytest

from hypertune.bounds.orders import bilevel_order, piecewise_constant_order, piecewise_polynomial_order
from hypertune.bounds.uniform import generalization_gap
from hypertune.errors import BoundError, ConfigError


def test_values():
    assert piecewise_constant_order(1024).value == 10
    assert piecewise_polynomial_order(8, 4, 3, 2).value == 3 + 3 * 3
    assert bilevel_order(2, 3, 4, 8, 7, 2).value == 2 * 5 + 2 * 9 * 4


def test_orders_are_marked_and_not_computed_with():
    for order in (piecewise_constant_order(4), piecewise_polynomial_order(4, 2, 3, 2), bilevel_order(1, 2, 3, 4, 5, 6)):
        assert order.kind == "order"
        assert "constant is not stated" in str(order.assumptions)
        with pytest.raises(BoundError, match="up to a constant"):
            generalization_gap(100, 0.05, order, utility=order.target)


def test_only_the_bilevel_one_is_about_validation():
    assert bilevel_order(1, 1, 1, 1, 0, 1).target == "validation at training optimum"
    assert piecewise_constant_order(4).target == "training optimum"


def test_counts_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="weights"):
        bilevel_order(1, 0, 1, 1, 1, 1)
