from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypertune.bounds.exponential_forecaster import exponential_forecaster, learning_rate, regret_bound
from hypertune.errors import ConfigError, TaskError


def by_hand(values, rate, prior):
    """Multiplicative weights, one task at a time, in plain floats."""
    weights, earned = list(prior), []
    for row in values:
        total = sum(weights)
        earned.append(sum(w / total * u for w, u in zip(weights, row, strict=True)))
        weights = [w * math.exp(rate * u) for w, u in zip(weights, row, strict=True)]
    return earned, [w / sum(weights) for w in weights]


def test_it_is_the_multiplicative_weights_update():
    values = np.random.default_rng(0).random((40, 5))
    prior = np.array([0.1, 0.2, 0.3, 0.25, 0.15])
    forecast = exponential_forecaster(values, rate=0.7, prior=prior)
    earned, final = by_hand(values, 0.7, prior)
    np.testing.assert_allclose(forecast.utility, earned, rtol=1e-12)
    np.testing.assert_allclose(forecast.final, final, rtol=1e-12)
    np.testing.assert_allclose(forecast.probabilities.sum(axis=1), 1, rtol=1e-12)
    assert forecast.regret == pytest.approx(values.sum(axis=0).max() - sum(earned))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 12), st.floats(0.01, 5), st.booleans())
def test_no_sequence_exceeds_the_bound(seed, tasks, candidates, rate, coins):
    rng = np.random.default_rng(seed)
    values = rng.random((tasks, candidates))
    values = np.round(values) if coins else values
    forecast = exponential_forecaster(values, rate=rate)
    assert forecast.regret <= forecast.bound + 1e-9
    weighted = exponential_forecaster(
        values, rate=rate, prior=rng.dirichlet(np.ones(candidates)) * 0.5 + 0.5 / candidates
    )
    assert weighted.regret <= weighted.bound + 1e-9


def test_an_adversary_comes_near_the_bound():
    # Each task is good for exactly those candidates that are behind.
    tasks, candidates = 400, 2
    rate = learning_rate(tasks, candidates)
    totals, values = np.zeros(candidates), []
    for _ in range(tasks):
        row = (totals < totals.max()).astype(float) if np.ptp(totals) else np.array([1.0, 0.0])
        values.append(row)
        totals += row
    forecast = exponential_forecaster(values, rate=rate)
    assert forecast.bound == pytest.approx(math.sqrt(tasks * math.log(candidates) / 2))
    assert 0.4 * forecast.bound < forecast.regret <= forecast.bound


def test_regret_per_task_shrinks():
    rng = np.random.default_rng(0)
    means = np.linspace(0.4, 0.6, 100)
    regrets = [
        exponential_forecaster((rng.random((tasks, 100)) < means).astype(float)).regret / tasks
        for tasks in (300, 1000, 3000)
    ]
    assert regrets[0] > regrets[1] > regrets[2] > 0


def test_huge_totals_do_not_overflow():
    forecast = exponential_forecaster(np.tile([1.0, 0.0], (5000, 1)), rate=5.0)
    assert forecast.final[0] == pytest.approx(1)
    assert np.isfinite(forecast.probabilities).all()


def test_rates_and_bounds():
    assert learning_rate(300, 100) == pytest.approx(math.sqrt(8 * math.log(100) / 300))
    best = learning_rate(300, 100)
    assert regret_bound(300, 100, best) < min(regret_bound(300, 100, 0.8 * best), regret_bound(300, 100, 1.2 * best))


def test_bad_input():
    with pytest.raises(ConfigError, match="rate"):
        exponential_forecaster([[0.5, 0.5]], rate=0.0)
    with pytest.raises(ConfigError, match="prior"):
        exponential_forecaster([[0.5, 0.5]], prior=[0.5, 0.6])
    with pytest.raises(ConfigError, match="table"):
        exponential_forecaster([0.5, 0.5])
    with pytest.raises(TaskError, match="outside"):
        exponential_forecaster([[0.5, 1.5]])
    with pytest.raises(TaskError, match="too few"):
        exponential_forecaster(np.empty((0, 3)))
