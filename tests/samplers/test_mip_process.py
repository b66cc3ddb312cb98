"""The process with a prior mean against the textbook, finite differences, and the plain process."""

from __future__ import annotations

import numpy as np
import pytest

from hypertune.samplers._gaussian_process import GaussianProcess
from hypertune.samplers._mip_process import CalibratedProcess
from hypertune.samplers._prior import Calibration


def observations(n=10, size=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, size))
    return x, predicted(x), predicted(x) + 0.3 * np.sin(5 * x[:, 0]) + 0.05 * rng.normal(size=n)


def predicted(x):
    return np.square(x - 0.4).sum(axis=1) * 3 - 1


def slopes(x):
    return 6 * (x - 0.4)


POINTS = np.random.default_rng(9).random((7, 3))
TRUST = Calibration(0.8, 0.3, 0.9)


def test_without_weight_it_is_the_plain_process_number_for_number():
    x, z, y = observations()
    process, plain = CalibratedProcess(x, y, z, Calibration()), GaussianProcess(x, y)
    for one, other in ((process.predict(POINTS, predicted(POINTS)), plain.predict(POINTS)),):
        np.testing.assert_array_equal(one, other)
    process.believe(POINTS[:2], predicted(POINTS[:2]))
    plain.believe(POINTS[:2])
    np.testing.assert_array_equal(process.predict(POINTS, predicted(POINTS)), plain.predict(POINTS))
    assert process.lowest == plain.lowest


def test_mean_and_variance_are_those_over_slopes_drawn_at_random():
    x, z, y = observations()
    process = CalibratedProcess(x, y, z, TRUST)
    scales = process._process.scales  # fitted to what the expected slope leaves over
    scale, lengths, noise = scales.variance, scales.lengths, scales.noise

    def covariance(a, b):
        r = np.sqrt(5) * np.linalg.norm((a[:, None] - b[None]) / lengths, axis=2)
        return scale * (1 + r + r**2 / 3) * np.exp(-r)

    weights = covariance(POINTS, x) @ np.linalg.inv(covariance(x, x) + noise * np.eye(len(x)))
    left = y - TRUST.weight * z
    unit = left.std()
    own = unit**2 * (scale - np.einsum("mn,mn->m", weights, covariance(POINTS, x)))
    b = TRUST.weight + TRUST.deviation * np.random.default_rng(0).standard_normal(200_000)
    centre = left.mean() * (1 - weights.sum(axis=1))
    means = centre + b[:, None] * predicted(POINTS) + (y - b[:, None, None] * z)[:, 0] @ weights.T
    mean, deviation = process.predict(POINTS, predicted(POINTS))
    np.testing.assert_allclose(mean, means.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(np.square(deviation), own + means.var(axis=0), rtol=0.02, atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    x, z, y = observations()
    process = CalibratedProcess(x, y, z, TRUST)
    of_mean, of_deviation = process.gradient(POINTS, predicted(POINTS), slopes(POINTS))
    step = 1e-5
    for axis in range(3):
        ahead, behind = (POINTS + sign * step * np.eye(3)[axis] for sign in (1, -1))
        (m1, d1), (m0, d0) = (process.predict(points, predicted(points)) for points in (ahead, behind))
        np.testing.assert_allclose(of_mean[:, axis], (m1 - m0) / (2 * step), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(of_deviation[:, axis], (d1 - d0) / (2 * step), rtol=1e-3, atol=1e-4)


def test_a_trusted_prediction_carries_over_to_where_no_trial_was():
    x, z, _ = observations()
    far = np.array([[0.4, 0.4, 0.4], [1.0, 1.0, 1.0]])
    trusted = CalibratedProcess(x, z, z, Calibration(1.0, 0.0, 1.0)).predict(far, predicted(far))[0]
    np.testing.assert_allclose(trusted, predicted(far), atol=0.05)


def test_weights_give_the_mean():
    x, _, y = observations()
    plain = GaussianProcess(x, y)
    weights = plain.weights(POINTS)
    mean = y.mean() + weights @ (y - y.mean())
    np.testing.assert_allclose(plain.predict(POINTS)[0], mean, rtol=1e-9)


def test_whitened_columns_have_the_processes_covariance():
    x, _, y = observations()
    plain = GaussianProcess(x, y)
    root = plain.whiten(np.eye(len(x)))
    covariance = plain.scales.covariance(x, x) + plain.scales.noise * np.eye(len(x))
    np.testing.assert_allclose(root @ covariance @ root.T, np.eye(len(x)), atol=1e-6)
    assert plain.whiten(np.ones((len(x), 2))).shape == (len(x), 2)


def test_pending_points_count_with_their_own_predictions():
    x, z, y = observations()
    process = CalibratedProcess(x, y, z, TRUST)
    before = process.predict(POINTS, predicted(POINTS))
    process.believe(POINTS[:1], predicted(POINTS[:1]))
    after = process.predict(POINTS, predicted(POINTS))
    assert after[0][0] == pytest.approx(before[0][0], abs=0.05)
    assert after[1][0] < before[1][0]
