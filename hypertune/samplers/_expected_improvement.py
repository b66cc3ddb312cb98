"""Where a Gaussian process expects the largest improvement.

References:
    [Jones98] Jones, Schonlau, Welch. Efficient Global Optimization of Expensive Black-Box Functions. Journal of Global
        Optimization 13, 1998.
    [Ginsbourger10] Ginsbourger, Le Riche, Carraro. Kriging Is Well-Suited to Parallelize Optimization. 2010.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats.qmc import Sobol
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

__all__ = ["most_promising", "normal_scores"]

_CANDIDATES = 512
_NEIGHBOURS = 64
_MOST_TRIALS = 150


def normal_scores(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantiles of the ranks: the order is kept, and diverged trials are no outliers."""
    scores: NDArray[np.float64] = norm.ppf((rankdata(y) - 0.5) / len(y))
    return scores


def most_promising(
    x: NDArray[np.float64], y: NDArray[np.float64], pending: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """Return the point of the largest expected improvement ([Jones98] eq. 15) under a Gaussian process.

    The process is fitted to the normal scores of the values. Running trials count with the values it predicts for them
    (kriging believer, [Ginsbourger10] section 3.2). Of many trials, the best and the latest are used.

    Args:
        x: Points, ``(n, d)`` in [0, 1], n at least 2.
        y: Values, ``(n,)``, to be minimized; infinite ones rank last.
        pending: Points that are being evaluated, ``(p, d)``.
        seed: Seed of the candidates and of the fit.

    Returns:
        ``(d,)`` in [0, 1].
    """
    if len(y) > _MOST_TRIALS:
        best = np.argsort(y, kind="stable")[: _MOST_TRIALS // 2]
        latest = np.arange(len(y) - _MOST_TRIALS // 2, len(y))
        kept = np.union1d(best, latest)
        x, y = x[kept], y[kept]
    rng = np.random.default_rng(seed)
    scores = normal_scores(y)
    size = x.shape[1]
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern([0.5] * size, (0.05, 20.0), nu=2.5) + WhiteKernel(
        0.1, (1e-3, 2.0)
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=seed)
    with warnings.catch_warnings():
        # A length scale at its bound says that an axis hardly matters; nothing is wrong with that.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(x, scores)
        if len(pending):
            believed = np.asarray(process.predict(pending))
            process = GaussianProcessRegressor(process.kernel_, normalize_y=True, optimizer=None)
            x, scores = np.concatenate((x, pending)), np.concatenate((scores, believed))
            process.fit(x, scores)
    leading = x[np.argsort(scores)[:3]]
    near = np.clip(leading[:, None] + rng.normal(0.0, 0.08, (len(leading), _NEIGHBOURS, size)), 0.0, 1.0)
    spread = Sobol(size, seed=rng).random(_CANDIDATES)
    candidates = np.concatenate((spread, near.reshape(-1, size)))
    mean, deviation = process.predict(candidates, return_std=True)
    # The deviation of the function, not of a noisy look at it; and the best the process believes in, not the luckiest.
    noise = process.kernel_.k2.noise_level * np.square(process._y_train_std)
    deviation = np.sqrt(np.maximum(np.square(deviation) - noise, 1e-9))
    target = float(np.min(process.predict(x)))
    z = (target - mean) / deviation
    improvement = deviation * (z * norm.cdf(z) + norm.pdf(z))
    point: NDArray[np.float64] = candidates[int(np.argmax(improvement))]
    return point
