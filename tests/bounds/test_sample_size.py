from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertune.bounds.activation_interpolation import activation_interpolation
from hypertune.bounds.empirical_bernstein import empirical_bernstein_margin
from hypertune.bounds.hoeffding import hoeffding_margin
from hypertune.bounds.orders import piecewise_constant_order
from hypertune.bounds.piecewise import known_oscillations
from hypertune.bounds.sample_size import smallest_sample, tasks_needed
from hypertune.bounds.uniform import generalization_gap
from hypertune.errors import BoundError, ConfigError


@given(st.floats(0.005, 0.9), st.floats(1e-6, 0.5), st.integers(1, 10**6))
def test_hoeffding_has_a_closed_form(epsilon, delta, candidates):
    n = smallest_sample(lambda m: hoeffding_margin(m, delta, candidates=candidates), epsilon)
    assert n == pytest.approx(max(2, math.ceil(math.log(candidates / delta) / (2 * epsilon**2))), abs=1)


@given(st.floats(0.01, 0.9), st.integers(1, 10**9))
def test_tasks_and_accuracy_are_inverse(epsilon, count):
    bound = known_oscillations(count)
    n = tasks_needed(epsilon, 0.05, bound, utility="utility")
    assert generalization_gap(n, 0.05, bound, utility="utility") <= epsilon
    assert n == 2 or generalization_gap(n - 1, 0.05, bound, utility="utility") > epsilon


def test_real_networks_need_millions_of_tasks():
    bound = activation_interpolation(64, [32], 10, 1797)
    n = tasks_needed(0.05, 0.05, bound, utility="training optimum")
    # 2 ln(B) / epsilon^2 to first order.
    assert n == pytest.approx(2 * bound.log2 * math.log(2) / 0.05**2, rel=0.02)


def test_variance_saves_tasks():
    few = smallest_sample(lambda m: float(empirical_bernstein_margin(0.05**2, m, 0.05)), 0.02)
    assert few < smallest_sample(lambda m: hoeffding_margin(m, 0.05), 0.02) / 4


@pytest.mark.parametrize("epsilon", [0, 1, -0.1, 2, float("nan")])
def test_accuracies_out_of_range_are_refused(epsilon):
    with pytest.raises(ConfigError, match="epsilon: is out of range"):
        tasks_needed(epsilon, 0.05, known_oscillations(3), utility="utility")


def test_a_margin_that_never_gets_small_is_reported():
    with pytest.raises(ConfigError, match="no number of tasks"):
        smallest_sample(lambda _: 0.5, 0.1)


def test_orders_give_no_number_of_tasks():
    with pytest.raises(BoundError, match="up to a constant"):
        tasks_needed(0.05, 0.05, piecewise_constant_order(10), utility="training optimum")
