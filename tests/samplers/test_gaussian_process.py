"""The process against the textbook's equations, and expected improvement against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from hypertune.samplers._expected_improvement import log_improvement
from hypertune.samplers._gaussian_process import GaussianProcess
from hypertune.samplers._most_probable import Posterior, Scales, most_probable_scales


def observations(n=9, size=2, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, size))
    return x, np.sin(4 * x[:, 0]) + 0.3 * x[:, -1] + noise * rng.normal(size=n)


def textbook(process, x, y, points):
    """Posterior mean and deviation with explicit inverses (Rasmussen, Williams 2006, equations 2.25 and 2.26)."""
    scale, lengths, noise = process.scales.variance, process.scales.lengths, process.scales.noise

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


def scikit_learn(scales):
    return ConstantKernel(scales.variance) * Matern(scales.lengths, nu=2.5) + WhiteKernel(scales.noise)


def test_predictions_are_scikit_learns():
    x, y = observations(25, 4, noise=0.2)
    points = np.random.default_rng(1).random((20, 4))
    process = GaussianProcess(x, y)
    peer = GaussianProcessRegressor(scikit_learn(process.scales), optimizer=None, normalize_y=True).fit(x, y)
    mean, deviation = peer.predict(points, return_std=True)
    np.testing.assert_allclose(process.predict(points)[0], mean, rtol=1e-9)
    noise = process.scales.noise * y.var()
    np.testing.assert_allclose(process.predict(points)[1], np.sqrt(deviation**2 - noise), rtol=1e-7)


@pytest.mark.parametrize(("n", "size"), [(2, 1), (7, 3), (30, 8)])
def test_likelihood_and_gradient_are_scikit_learns(n, size):
    x, y = observations(n, size, noise=0.3)
    y = (y - y.mean()) / y.std()
    posterior = Posterior(x, y)
    for seed in range(5):
        theta = posterior.median + np.random.default_rng(seed).normal(0.0, 0.7, size + 2)
        peer = GaussianProcessRegressor(scikit_learn(Scales(1.0, np.ones(size), 1.0)), optimizer=None).fit(x, y)
        expected, gradient = peer.log_marginal_likelihood(theta, eval_gradient=True)
        value, slope = posterior.log_likelihood(theta)
        assert value == pytest.approx(expected, rel=1e-9)
        np.testing.assert_allclose(slope, gradient, rtol=1e-7, atol=1e-9)


def test_scales_are_the_most_probable_of_many():
    x, y = observations(20, 3, noise=0.2)
    y = (y - y.mean()) / y.std()
    posterior = Posterior(x, y)
    scales = most_probable_scales(x, y)
    found, _ = posterior.surprise(np.log([scales.variance, *scales.lengths, scales.noise]))
    step = 1e-6 * np.eye(5)
    theta = posterior.median + 0.3
    numeric = [(posterior.surprise(theta + s)[0] - posterior.surprise(theta - s)[0]) / 2e-6 for s in step]
    np.testing.assert_allclose(posterior.surprise(theta)[1], numeric, rtol=1e-4, atol=1e-6)
    low, high = posterior.bounds.T
    drawn = np.random.default_rng(0).uniform(low, high, (4000, 5))
    assert found < min(posterior.surprise(each)[0] for each in drawn) + 1e-3
    precise = minimize(posterior.surprise, posterior.median, jac=True, method="L-BFGS-B", bounds=posterior.bounds)
    assert found < precise.fun + 1e-3


def test_length_scales_tell_what_matters():
    x = np.random.default_rng(0).random((40, 2))
    process = GaussianProcess(x, np.sin(6 * x[:, 0]))
    lengths = process.scales.lengths
    assert lengths[1] > 2 * lengths[0]


def test_noise_is_told_from_signal():
    noise = [GaussianProcess(*observations(40, noise=size)).scales.noise for size in (0.0, 0.3, 1.0)]
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
