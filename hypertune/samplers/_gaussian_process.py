"""A Gaussian process for a search of few, noisy trials.

References:
    [Rasmussen06] Rasmussen, Williams. Gaussian Processes for Machine Learning. MIT Press, 2006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from hypertune.samplers._most_probable import JITTER, most_probable_scales

__all__ = ["GaussianProcess"]


class GaussianProcess:
    """Values over points: Matern 5/2 with a length scale for each feature, and noise.

    Scales are the most probable ones (`most_probable_scales`). scikit-learn's regressor with these scales predicts the
    same, and takes several times as long for the few trials of a search: it checks arguments, and finds the parameters
    of kernels by reflection, at every look.

    Args:
        points: Features, ``(n, f)``, n and f at least 1.
        values: ``(n,)``, finite.
    """

    def __init__(self, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._mean, deviation = float(np.mean(values)), float(np.std(values))
        self._unit = deviation if deviation > 1e-12 else 1.0
        self.scales = most_probable_scales(points, (values - self._mean) / self._unit)
        self._condition(points, values)

    def _condition(self, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Take in observations, [Rasmussen06] algorithm 2.1."""
        self._points, self._values = points, values
        covariance = self.scales.covariance(points, points)
        covariance.flat[:: len(points) + 1] += self.scales.noise + JITTER
        self._root = cholesky(covariance, lower=True, check_finite=False)
        self._solved = cho_solve((self._root, True), (values - self._mean) / self._unit, check_finite=False)

    def predict(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the function itself, without the noise of a look at it.

        Args:
            points: Features, ``(m, f)``.

        Returns:
            Two arrays ``(m,)``; the deviation is positive.
        """
        covariance = self.scales.covariance(points, self._points)
        explained = solve_triangular(self._root, covariance.T, lower=True, check_finite=False)
        variance = self.scales.variance - np.einsum("nm,nm->m", explained, explained)
        mean = self._mean + self._unit * (covariance @ self._solved)
        return mean, np.sqrt(np.maximum(np.square(self._unit) * variance, 1e-9))

    def believe(self, points: NDArray[np.float64]) -> None:
        """Take the predictions at ``points``, ``(m, f)``, for values that were observed; scales stay as they are."""
        mean, _ = self.predict(points)
        self._condition(np.concatenate((self._points, points)), np.concatenate((self._values, mean)))

    def weights(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights ``(m, n)`` that the mean at points ``(m, f)`` gives the observed values."""
        covariance = self.scales.covariance(points, self._points)
        weights: NDArray[np.float64] = cho_solve((self._root, True), covariance.T).T
        return weights

    def whiten(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply columns ``(n, k)`` by a root of the inverse covariance of the observations."""
        whitened: NDArray[np.float64] = solve_triangular(self._root, columns, lower=True)
        return whitened

    def gradient(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Differentiate what `predict` and `weights` return.

        Args:
            points: Features, ``(m, f)``.

        Returns:
            Gradients of the mean ``(m, f)``, of the variance ``(m, f)``, and of the weights ``(m, n, f)``.
        """
        unit, lengths = self._unit, self.scales.lengths
        apart = (points[:, None] - self._points[None]) / lengths
        distance = np.sqrt(5.0) * np.linalg.norm(apart, axis=2)
        # d/dr of (1 + r + r^2/3) exp(-r) is -r (1 + r) exp(-r) / 3, and r dr/dx = 5 (x - x') / length^2.
        slope = self.scales.variance * -5.0 / 3.0 * (1.0 + distance) * np.exp(-distance)
        covariances = slope[:, :, None] * apart / lengths
        mean = unit * np.einsum("mnf,n->mf", covariances, self._solved)
        variance = -2.0 * np.square(unit) * np.einsum("mnf,mn->mf", covariances, self.weights(points))
        size = len(self._points)
        solved = cho_solve((self._root, True), covariances.transpose(1, 0, 2).reshape(size, -1))
        return mean, variance, solved.reshape(size, len(points), -1).transpose(1, 0, 2)

    @property
    def lowest(self) -> float:
        """Lowest mean at the points of the observations: the luckiest of noisy values may be lower."""
        # What the noise explains of a value is its weight in the mean times the variance of the noise.
        noise = self._unit * (self.scales.noise + JITTER) * self._solved
        return float(np.min(self._values - noise))
