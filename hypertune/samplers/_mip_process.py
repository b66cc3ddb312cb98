"""A Gaussian process whose prior mean is what a predictor says, as far as trials bear it out.

References:
    [Rasmussen06] Rasmussen, Williams. Gaussian Processes for Machine Learning. MIT Press, 2006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypertune.samplers._gaussian_process import GaussianProcess
from hypertune.samplers._prior import Calibration

__all__ = ["CalibratedProcess"]

Array = NDArray[np.float64]


class CalibratedProcess:
    """Values over points: ``a + b z(x)`` plus a Gaussian process, z being the calibrated prediction.

    The process is fitted to what the expected slope leaves over. That b is not known exactly adds
    ``Var(b) (z(x) - w(x) z)^2`` to the variance, as for any function with an uncertain coefficient in front, w(x) being
    the weights that the process gives the observations ([Rasmussen06] equation 2.42): nothing where trials settle the
    value anyway, much where only the prediction speaks. With slope 0 it is the plain process, number for number.

    Args:
        points: Features, ``(n, f)``.
        scores: Values, ``(n,)``.
        z: Standardized predictions at the points, ``(n,)``, finite.
        calibration: What the trials say of them.
    """

    def __init__(self, points: Array, scores: Array, z: Array, calibration: Calibration) -> None:
        self._weight, self._deviation = calibration.weight, calibration.deviation
        self._z = z
        self._points = points
        self._process = GaussianProcess(points, scores - self._weight * z)

    def believe(self, points: Array, z: Array) -> None:
        """Take the predictions at ``points`` for values that were observed."""
        self._process.believe(points)
        self._points = np.concatenate((self._points, points))
        self._z = np.concatenate((self._z, z))

    @property
    def lowest(self) -> float:
        """Lowest mean at the points of the observations."""
        mean, _ = self._process.predict(self._points)
        return float(np.min(mean + self._weight * self._z))

    def predict(self, points: Array, z: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the function itself.

        Args:
            points: Features, ``(m, f)``.
            z: Standardized predictions there, ``(m,)``.
        """
        mean, deviation = self._process.predict(points)
        if self._weight == 0.0:
            return mean, deviation
        left = z - self._process.weights(points) @ self._z
        return mean + self._weight * z, np.sqrt(np.square(deviation) + np.square(self._deviation * left))

    def gradient(self, points: Array, z: Array, slopes: Array) -> tuple[Array, Array]:
        """Return gradients of mean and of standard deviation, ``(m, f)`` each.

        Args:
            points: Features, ``(m, f)``.
            z: Standardized predictions there, ``(m,)``.
            slopes: Gradients of the predictions with respect to the features, ``(m, f)``.
        """
        _, deviation = self.predict(points, z)
        mean, variance, weights = self._process.gradient(points)
        if self._weight != 0.0:
            left = z - self._process.weights(points) @ self._z
            turn = slopes - np.einsum("mnf,n->mf", weights, self._z)
            mean = mean + self._weight * slopes
            variance = variance + 2.0 * self._deviation**2 * left[:, None] * turn
        return mean, variance / (2.0 * deviation[:, None])
