from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from hypertune.bounds.pac_bayes import gibbs_posterior, kl_lower, log_xi, pac_bayes_certificate
from hypertune.errors import ConfigError, TaskError

DELTA = 0.05


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_xi_against_fractions(n):
    exact = sum(
        math.comb(n, k) * Fraction(k, n) ** k * (1 - Fraction(k, n)) ** (n - k) if 0 < k < n else Fraction(1)
        for k in range(n + 1)
    )
    assert log_xi(n) == pytest.approx(math.log(exact), rel=1e-12)


@pytest.mark.parametrize("n", [1, 10, 300, 10_000])
def test_xi_lies_between_its_known_bounds(n):
    assert 0.5 * math.log(n) - 1e-9 <= log_xi(n) <= math.log(2 * math.sqrt(n)) + 1e-9


def kl(q: float, p: float) -> float:
    return sum(a * math.log(a / b) for a, b in ((q, p), (1 - q, 1 - p)) if a > 0)


@given(st.floats(0.001, 0.999), st.floats(1e-4, 5))
def test_inverse_of_kl_against_a_root_finder(q, bound):
    p = float(kl_lower(q, bound))
    if kl(q, math.exp(-700)) <= bound:
        root = 0.0
    else:
        root = math.exp(brentq(lambda x: kl(q, math.exp(x)) - bound, -700, math.log(q), xtol=1e-14, rtol=1e-14))
    # Never above the root: rounding errs on the safe side.
    assert root - 2e-13 <= p <= root + 1e-13


def test_ends_of_the_inverse():
    np.testing.assert_allclose(kl_lower([0.0, 1.0, 0.7], [1.0, 0.5, 0.0]), [0, math.exp(-0.5), 0.7], atol=1e-7)
    assert kl_lower(0.9, np.inf) == 0


def test_one_candidate_needs_no_divergence():
    x = np.random.default_rng(0).beta(8, 2, (100, 1))
    certificate = pac_bayes_certificate(x, [1.0], DELTA)
    expected = float(kl_lower(x.mean(), (log_xi(100) + math.log(1 / DELTA)) / 100))
    assert certificate.value == pytest.approx(expected, abs=1e-12)


def test_a_certain_posterior_pays_the_logarithm_of_its_prior():
    x = np.random.default_rng(1).beta(8, 2, (200, 4))
    certificate = pac_bayes_certificate(x, [0, 0, 1.0, 0], DELTA, prior=[0.1, 0.2, 0.3, 0.4])
    expected = float(kl_lower(x[:, 2].mean(), (math.log(1 / 0.3) + log_xi(200) + math.log(1 / DELTA)) / 200))
    assert certificate.value == pytest.approx(expected, abs=1e-12)


def test_gibbs_posterior_is_the_best_of_its_family():
    rng = np.random.default_rng(2)
    x = (rng.random((200, 20)) < rng.uniform(0.3, 0.9, 20)).astype(float)
    posterior = gibbs_posterior(x, DELTA)
    assert posterior.sum() == pytest.approx(1)
    order = x.mean(axis=0).argsort()
    assert (np.diff(posterior[order]) >= -1e-15).all()
    best = pac_bayes_certificate(x, posterior, DELTA).value
    single = np.eye(20)[order[-1]]
    assert best >= pac_bayes_certificate(x, single, DELTA).value
    assert best >= pac_bayes_certificate(x, np.full(20, 0.05), DELTA).value
    assert best > pac_bayes_certificate(x, np.full(20, 0.05), DELTA).value + 0.05


def test_coverage_on_a_finite_pool(tolerated):
    # The posterior is chosen on the tasks, and rare failures make its mean look better than it is.
    rng = np.random.default_rng(3)
    pool = rng.permuted(np.tile((np.arange(300) < 285).astype(float), (30, 1)), axis=1).T
    wrong = 0
    for _ in range(300):
        sample = pool[rng.integers(0, 300, 40)]
        posterior = gibbs_posterior(sample, 0.2)
        wrong += pac_bayes_certificate(sample, posterior, 0.2).value > posterior @ pool.mean(axis=0)
    assert wrong / 300 <= tolerated(0.2, 300)


def test_a_posterior_outside_the_prior_is_vacuous():
    certificate = pac_bayes_certificate(np.full((50, 2), 0.9), [0.0, 1.0], DELTA, prior=[1.0, 0.0])
    assert certificate.vacuous
    assert certificate.value == 0
    assert gibbs_posterior(np.full((50, 2), 0.9), DELTA, prior=[1.0, 0.0]).tolist() == [1, 0]


@pytest.mark.parametrize("posterior", [[0.5, 0.6], [1.0], [1.5, -0.5], [float("nan"), 1.0]])
def test_what_is_no_probability_is_refused(posterior):
    with pytest.raises(ConfigError, match="posterior: are no probabilities"):
        pac_bayes_certificate(np.full((9, 2), 0.5), posterior, DELTA)


def test_utilities_need_two_axes():
    with pytest.raises(TaskError, match="wrong shape"):
        gibbs_posterior(np.full(9, 0.5), DELTA)
