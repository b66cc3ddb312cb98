"""A Gaussian process for a search of few, noisy trials.

References:
    [Rasmussen06] Rasmussen, Williams. Gaussian Processes for Machine Learning. MIT Press, 2006.
    [Hvarfner24] Hvarfner, Hellsten, Nardi. Vanilla Bayesian Optimization Performs Great in High Dimensions. ICML 2024.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

__all__ = ["GaussianProcess"]

_LENGTH = 0.2  # for one axis; the prior median grows with the root of their number
_LENGTH_DEVIATION = 0.8
_NOISE = 0.03
_NOISE_DEVIATION = 1.2
_SCALE_DEVIATION = 0.7

Objective = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


class GaussianProcess:
    """Values over points: Matern 5/2 with a length scale for each feature, and noise.

    Variances and length scales are the most probable ones ([Rasmussen06] section 5.4.1) under log-normal priors: with
    the ten or so trials of a search, the likelihood alone would call axes irrelevant, or noise signal. The median
    length scale grows with the root of the number of features ([Hvarfner24] section 4), the others stand for a
    function of unit variance that is seen with little noise.

    Args:
        points: Features, ``(n, f)``, n and f at least 1.
        values: ``(n,)``, finite.
    """

    def __init__(self, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        size = points.shape[1]
        length = _LENGTH * math.sqrt(size)
        kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern([length] * size, (0.05, 20.0), nu=2.5) + WhiteKernel(
            _NOISE, (1e-4, 2.0)
        )
        self._process = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=_most_probable)
        self._fit(points, values)

    def _fit(self, points: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        self._points, self._values = points, values
        with warnings.catch_warnings():
            # A scale at its bound says that an axis hardly matters, or that there is no noise; nothing is wrong.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._process.fit(points, values)

    def predict(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the function itself, without the noise of a look at it.

        Args:
            points: Features, ``(m, f)``.

        Returns:
            Two arrays ``(m,)``; the deviation is positive.
        """
        mean, deviation = self._process.predict(points, return_std=True)
        noise = self._process.kernel_.k2.noise_level * np.square(self._process._y_train_std)
        return mean, np.sqrt(np.maximum(np.square(deviation) - noise, 1e-9))

    def believe(self, points: NDArray[np.float64]) -> None:
        """Take the predictions at ``points``, ``(m, f)``, for values that were observed; scales stay as they are."""
        mean, _ = self.predict(points)
        self._process = GaussianProcessRegressor(self._process.kernel_, normalize_y=True, optimizer=None)
        self._fit(np.concatenate((self._points, points)), np.concatenate((self._values, mean)))

    def weights(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weights ``(m, n)`` that the mean at points ``(m, f)`` gives the observed values."""
        covariances = self._process.kernel_.k1(points, self._points)
        weights: NDArray[np.float64] = cho_solve((self._process.L_, True), covariances.T).T
        return weights

    def whiten(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply columns ``(n, k)`` by a root of the inverse covariance of the observations."""
        whitened: NDArray[np.float64] = solve_triangular(self._process.L_, columns, lower=True)
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
        kernel, unit = self._process.kernel_, self._process._y_train_std
        lengths = kernel.k1.k2.length_scale
        apart = (points[:, None] - self._points[None]) / lengths
        distance = np.sqrt(5.0) * np.linalg.norm(apart, axis=2)
        # d/dr of (1 + r + r^2/3) exp(-r) is -r (1 + r) exp(-r) / 3, and r dr/dx = 5 (x - x') / length^2.
        slope = kernel.k1.k1.constant_value * -5.0 / 3.0 * (1.0 + distance) * np.exp(-distance)
        covariances = slope[:, :, None] * apart / lengths
        mean = unit * np.einsum("mnf,n->mf", covariances, np.ravel(self._process.alpha_))
        variance = -2.0 * np.square(unit) * np.einsum("mnf,mn->mf", covariances, self.weights(points))
        size = len(self._points)
        solved = cho_solve((self._process.L_, True), covariances.transpose(1, 0, 2).reshape(size, -1))
        return mean, variance, solved.reshape(size, len(points), -1).transpose(1, 0, 2)

    @property
    def lowest(self) -> float:
        """Lowest mean at the points of the observations: the luckiest of noisy values may be lower."""
        return float(np.min(self._process.predict(self._points)))


def _most_probable(
    objective: Objective, start: NDArray[np.float64], bounds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    # scikit-learn hands over the negative log likelihood of log (scale, length scales, noise); `start` is the median
    # of the priors.
    deviations = np.full(len(start), _LENGTH_DEVIATION)
    deviations[0], deviations[-1] = _SCALE_DEVIATION, _NOISE_DEVIATION

    def posterior(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = objective(theta)
        z = (theta - start) / deviations
        return value + 0.5 * float(z @ z), gradient + z / deviations

    found = minimize(posterior, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    return found.x, float(found.fun)
