from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hypertune.bounds.activation_interpolation import activation_interpolation
from hypertune.bounds.erm import mean_dual, widest_best_plateau
from hypertune.bounds.piecewise import known_oscillations, piecewise_constant
from hypertune.bounds.pseudo_dimension import from_oscillations
from hypertune.bounds.uniform import generalization_gap, worst_case_certificate
from hypertune.errors import BoundError, ConfigError


def test_closed_form():
    m, b, delta = 200, 7, 0.1
    expected = math.sqrt(2 * math.log(m * b + 1) / m) + math.sqrt(math.log(1 / delta) / (2 * m))
    assert generalization_gap(m, delta, known_oscillations(b), utility="utility") == pytest.approx(expected, rel=1e-14)


def test_closed_form_for_a_dimension():
    m, delta = 500, 0.05
    bound = from_oscillations(known_oscillations(1000))
    expected = math.sqrt(2 * 13 * math.log(math.e * m / 13) / m) + math.sqrt(math.log(1 / delta) / (2 * m))
    assert generalization_gap(m, delta, bound, utility="utility") == pytest.approx(expected, rel=1e-14)


def test_known_value_of_a_real_network_is_vacuous():
    bound = activation_interpolation(64, [32], 10, 1797)
    assert generalization_gap(45, 0.05, bound, utility="training optimum") == pytest.approx(39.6, abs=0.05)
    certificate = worst_case_certificate(np.full(45, 0.97), 0.05, bound, utility="training optimum")
    assert certificate.vacuous
    assert certificate.value == 0
    assert certificate.margin == pytest.approx(39.6, abs=0.05)
    assert certificate.kind == "worst case (theory)"
    assert "the utility is the global optimum over the weights of the training objective" in certificate.assumptions


def test_it_decreases_with_tasks():
    for bound in (known_oscillations(50), from_oscillations(known_oscillations(50))):
        gaps = [generalization_gap(m, 0.05, bound, utility="utility") for m in range(1, 300)]
        assert all(later < earlier for earlier, later in itertools.pairwise(gaps))


def test_validation_utilities_are_refused():
    with pytest.raises(BoundError, match="another function"):
        worst_case_certificate([0.9, 0.8], 0.05, piecewise_constant(5), utility="validation at training optimum")
    with pytest.raises(BoundError, match="another function"):
        generalization_gap(10, 0.05, piecewise_constant(5), utility="utility")


def test_coverage_on_a_finite_pool(steps, tolerated):
    # The whole class at once: the largest excess of the mean over the expectation, for 300 samples of tasks.
    rng = np.random.default_rng(0)
    pool = [steps(rng, 3) for _ in range(200)]
    expectation = mean_dual(pool)
    bound, delta, m = known_oscillations(3), 0.1, 60
    gap = generalization_gap(m, delta, bound, utility="utility")
    excess = []
    for _ in range(300):
        sample = mean_dual([pool[i] for i in rng.integers(0, 200, m)])
        points = (sample.edges[1:] + sample.edges[:-1]) / 2
        excess.append(float(np.max(sample.values - expectation(points))))
    assert np.mean(np.array(excess) > gap) <= tolerated(delta, 300)
    # The bound is loose by a known factor, not by orders: half the complexity term would still be in reach.
    assert gap / 8 < max(excess) < gap
    chosen = widest_best_plateau(mean_dual([pool[i] for i in rng.integers(0, 200, m)]))
    assert chosen.value - float(expectation(chosen.point)) < gap


@pytest.mark.parametrize("n", [0, -3, 2.5])
def test_counts_out_of_range_are_refused(n):
    with pytest.raises(ConfigError, match="whole number"):
        generalization_gap(n, 0.05, known_oscillations(3), utility="utility")
