"""The process against the textbook's equations, and expected improvement against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from hypertune.samplers._expected_improvement import log_improvement
from hypertune.samplers._gaussian_process import GaussianProcess


def observations(n=9, size=2, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, size))
    return x, np.sin(4 * x[:, 0]) + 0.3 * x[:, -1] + noise * rng.normal(size=n)


def textbook(process, x, y, points):
    """Posterior mean and deviation with explicit inverses (Rasmussen, Williams 2006, equations 2.25 and 2.26)."""
    scale, lengths, noise = np.split(np.exp(process._process.kernel_.theta), [1, -1])

    def covariance(a, b):
        r = np.sqrt(5) * np.linalg.norm((a[:, None] - b[None]) / lengths, axis=2)
        return scale * (1 + r + r**2 / 3) * np.exp(-r)

    inverse = np.linalg.inv(covariance(x, x) + noise * np.eye(len(x)))
    mean = y.mean() + y.std() * covariance(points, x) @ inverse @ ((y - y.mean()) / y.std())
    variance = scale - np.einsum("ij,jk,ik->i", covariance(points, x), inverse, covariance(points, x))
    return mean, y.std() * np.sqrt(variance)


def test_predictions_are_the_textbooks():
    x, y = observations(noise=0.1)
    points = np.random.default_rng(1).random((20, 2))
    process = GaussianProcess(x, y)
    mean, deviation = process.predict(points)
    expected_mean, expected_deviation = textbook(process, x, y, points)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-7)
    np.testing.assert_allclose(deviation, expected_deviation, rtol=1e-5)
    assert process.lowest == pytest.approx(textbook(process, x, y, x)[0].min())


def test_length_scales_tell_what_matters():
    x = np.random.default_rng(0).random((40, 2))
    process = GaussianProcess(x, np.sin(6 * x[:, 0]))
    lengths = np.exp(process._process.kernel_.theta)[1:-1]
    assert lengths[1] > 2 * lengths[0]


def test_noise_is_told_from_signal():
    noise = [
        np.exp(GaussianProcess(*observations(40, noise=size))._process.kernel_.theta[-1]) for size in (0.0, 0.3, 1.0)
    ]
    assert noise[0] < 0.01 < noise[1] < noise[2]


@pytest.mark.parametrize("y", [np.zeros(3), np.array([1.0, 1.0, 2.0])])
def test_ties_and_repeated_points_are_no_trouble(y):
    mean, deviation = GaussianProcess(np.full((3, 2), 0.5), y).predict(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert np.isfinite(mean).all()
    assert (deviation > 0).all()


def test_a_believed_point_is_certain_and_changes_no_mean():
    x, y = observations()
    process = GaussianProcess(x, y)
    point = np.array([[0.95, 0.05]])
    before, doubt = process.predict(point)
    process.believe(point)
    after, less = process.predict(point)
    assert after == pytest.approx(before, abs=0.05)
    assert less < 0.7 * doubt


def test_fits_repeat_to_the_bit():
    x, y = observations(noise=0.2)
    first, second = (GaussianProcess(x, y).predict(x) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@pytest.mark.parametrize("z", [3.0, 0.5, -0.5, -1.0, -1.5, -4.0, -7.0])
def test_log_improvement_is_the_integral(z):
    integral, _ = quad(lambda t: (t + z) * norm.pdf(t), -z, -z + 40, epsabs=0, epsrel=1e-12, limit=500)
    assert log_improvement(np.array([z]))[0] == pytest.approx(np.log(integral), rel=1e-6)


def test_log_improvement_tells_hopeless_points_apart():
    z = -np.logspace(0, 6, 4000)
    values = log_improvement(z)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    # To leading order phi(z) / z^2.
    assert values[-1] == pytest.approx(norm.logpdf(z[-1]) - 2 * np.log(-z[-1]))
