from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.empirical_bernstein import empirical_bernstein_certificate, empirical_bernstein_margin
from hypertune.bounds.hoeffding import hoeffding_margin
from hypertune.errors import ConfigError


def test_closed_form():
    values = [0.2, 0.4, 0.9, 0.7]
    log = math.log(2 * 3 / 0.05)
    variance = np.var(values) * 4 / 3
    expected = math.sqrt(2 * variance * log / 4) + 7 * log / 9
    assert empirical_bernstein_certificate(values, 0.05, candidates=3).margin == pytest.approx(expected, rel=1e-12)


def test_many_variances_at_once():
    margins = empirical_bernstein_margin([0.0, 0.01, 0.25], 100, 0.05)
    assert margins.shape == (3,)
    assert margins[0] == pytest.approx(7 * math.log(40) / 297)
    assert margins[0] < margins[1] < margins[2]


def test_small_variances_pay_off_against_hoeffding():
    assert empirical_bernstein_margin(0.05**2, 300, 0.05) < hoeffding_margin(300, 0.05)
    assert empirical_bernstein_margin(0.25, 300, 0.05) > hoeffding_margin(300, 0.05)


@pytest.mark.parametrize("rate", [0.03, 0.5])
def test_coverage_of_the_best_of_many(rate, tolerated):
    rng = np.random.default_rng(1)
    delta, repeats, candidates, tasks = 0.1, 1000, 100, 60
    pool = rng.permuted(np.tile((np.arange(300) < 300 * rate).astype(float), (candidates, 1)), axis=1).T
    sample = pool[rng.integers(0, 300, (tasks, repeats))]
    means, variances = sample.mean(axis=0), sample.var(axis=0, ddof=1)
    lower = means - empirical_bernstein_margin(variances, tasks, delta, candidates=candidates)
    best = means.argmax(axis=1)
    assert np.mean(lower[np.arange(repeats), best] > rate) <= tolerated(delta, repeats)


def test_dropping_the_second_term_fails_the_simulation(tolerated):
    # Rare failures: samples without one have variance 0, and only the second term knows that they may exist.
    rng = np.random.default_rng(2)
    delta, repeats, tasks = 0.05, 2000, 30
    pool = np.r_[np.zeros(3), np.ones(97)]
    sample = rng.choice(pool, (tasks, repeats))
    mean, variance = sample.mean(axis=0), sample.var(axis=0, ddof=1)
    margin = empirical_bernstein_margin(variance, tasks, delta)
    second = empirical_bernstein_margin(0.0, tasks, delta)
    assert np.mean(mean - margin > 0.97) <= tolerated(delta, repeats)
    assert np.mean(mean - (margin - second) > 0.97) > tolerated(delta, repeats)


def test_one_task_has_no_variance():
    with pytest.raises(ConfigError, match="from 2"):
        empirical_bernstein_margin(0.1, 1, 0.05)
