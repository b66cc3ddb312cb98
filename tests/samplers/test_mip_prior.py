"""The calibration against numerical integration of the two hypotheses that it weighs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad

from hypertune.samplers._expected_improvement import normal_scores
from hypertune.samplers._gaussian_process import GaussianProcess
from hypertune.samplers._prior import Calibration


def pairs(n=7, slope=0.6, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    return z, normal_scores(slope * z + rng.normal(size=n))


def integrated(z, y):
    """Probability of b > 0 at odds of 3, and mean and deviation of b over both cases, by quadrature over b and sigma."""
    z, y = z - z.mean(), y - y.mean()
    n, size = len(z), z @ z

    def likelihood(b, sigma):
        # The constant is integrated out, so that n - 1 dimensions are left; 1 / sigma is its prior.
        return sigma ** -(n - 1) * np.exp(-np.sum((y - b * z) ** 2) / (2 * sigma**2)) / sigma

    def prior(b, sigma):
        spread = sigma * np.sqrt(n / size)
        return 2 * np.exp(-((b / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))

    def moment(power):
        return dblquad(lambda b, s: b**power * prior(b, s) * likelihood(b, s), 0.02, 12, 0, 12, epsrel=1e-6)[0]

    nothing = dblquad(lambda b, s: likelihood(0.0, s), 0.02, 12, 0, 1, epsrel=1e-6)[0]
    with_signal = moment(0)
    signal = 3 * with_signal / (3 * with_signal + nothing)
    mean = signal * moment(1) / with_signal
    return signal, mean, np.sqrt(signal * moment(2) / with_signal - mean**2)


@pytest.mark.parametrize(("slope", "seed"), [(0.6, 0), (2.0, 1), (0.0, 3)])
def test_signal_and_slope_are_those_of_the_integrals(slope, seed):
    z, y = pairs(slope=slope, seed=seed)
    signal, mean, deviation = integrated(z, y)
    found = Calibration.of(z, y)
    assert found.signal == pytest.approx(signal, rel=1e-3)
    assert signal > 0.5
    assert found.weight == pytest.approx(mean, rel=2e-3)
    assert found.deviation == pytest.approx(deviation, rel=5e-3)


def test_without_a_signal_the_weight_is_exactly_zero():
    z, y = pairs(n=12, slope=-1.0)
    found = Calibration.of(z, y)
    assert found.signal < 0.5
    assert (found.weight, found.deviation) == (0.0, 0.0)


def test_more_trials_make_it_surer():
    small, large = (Calibration.of(*pairs(n=n, slope=1.0, seed=4)) for n in (6, 60))
    assert large.signal > small.signal > 0.5
    assert large.deviation < small.deviation


@pytest.mark.parametrize(
    ("z", "y"),
    [
        (np.arange(3.0), np.arange(3.0)),
        (np.ones(8), np.arange(8.0)),
        (np.arange(8.0), np.ones(8)),
        (np.empty(0), np.empty(0)),
    ],
)
def test_what_says_nothing_gives_nothing(z, y):
    assert Calibration.of(z, y) == Calibration()


def test_trials_of_nearly_one_prediction_do_not_blow_the_slope_up():
    z, y = pairs(n=10, slope=1.0)
    wide, narrow = Calibration.of(z, y, least_spread=0.25), Calibration.of(1e-3 * z, y, least_spread=0.25)
    assert narrow.signal == pytest.approx(wide.signal)
    assert narrow.weight * np.std(1e-3 * z) < 0.01 * wide.weight * np.std(z)


def test_neighbours_are_no_evidence_of_their_own():
    rng = np.random.default_rng(0)
    corners = rng.random((2, 3))
    x = np.concatenate([corner + 0.01 * rng.normal(size=(8, 3)) for corner in corners])
    z = np.repeat([0.0, 1.0], 8) + 0.01 * rng.normal(size=16)
    y = normal_scores(z + 0.02 * rng.normal(size=16))
    alone = Calibration.of(z, y)
    together = Calibration.of(z, y, GaussianProcess(x, y).whiten)
    assert alone.signal > 0.99
    assert together.signal < 0.9
