"""Where a Gaussian process expects the largest improvement.

References:
    [Jones98] Jones, Schonlau, Welch. Efficient Global Optimization of Expensive Black-Box Functions. Journal of Global
        Optimization 13, 1998.
    [Ginsbourger10] Ginsbourger, Le Riche, Carraro. Kriging Is Well-Suited to Parallelize Optimization. 2010.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from scipy.stats.qmc import Sobol
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from hypertune.samplers._features import features

__all__ = ["most_promising", "normal_scores"]

_CANDIDATES = 512
_NEIGHBOURS = 64
_MOST_TRIALS = 150
_ANOTHER_CHOICE = 0.3
_REFINEMENTS = (0.03, 0.01)


def normal_scores(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantiles of the ranks: the order is kept, and diverged trials are no outliers."""
    scores: NDArray[np.float64] = norm.ppf((rankdata(y) - 0.5) / len(y))
    return scores


def most_promising(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    pending: NDArray[np.float64],
    *,
    seed: int,
    choices: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Return the point of the largest expected improvement ([Jones98] eq. 15) under a Gaussian process.

    The process is fitted to the normal scores of the values. Running trials count with the values it predicts for them
    (kriging believer, [Ginsbourger10] section 3.2). Of many trials, the best and the latest are used.

    Args:
        x: Points, ``(n, d)`` in [0, 1], n at least 2.
        y: Values, ``(n,)``, to be minimized; infinite ones rank last.
        pending: Points that are being evaluated, ``(p, d)``.
        seed: Seed of the candidates and of the fit.
        choices: Number of unordered choices on each axis, 0 where values are ordered; None: all are ordered.

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
    choices = (0,) * x.shape[1] if choices is None else choices
    leading = x[np.argsort(scores)[:3]]
    candidates = _candidates(leading, choices, rng)
    x, pending = features(x, choices), features(pending, choices)
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
    # The best the process believes in, not the luckiest look at it.
    target = float(np.min(process.predict(x)))
    point: NDArray[np.float64] = candidates[0]
    largest = -np.inf
    for width in (None, *_REFINEMENTS):
        if width is not None:
            candidates = np.clip(point + rng.normal(0.0, width, (_NEIGHBOURS, len(choices))), 0.0, 1.0)
        improvement = _expected_improvement(process, features(candidates, choices), target)
        if improvement.max() > largest:
            point, largest = candidates[int(np.argmax(improvement))], float(improvement.max())
    return point


def _expected_improvement(
    process: GaussianProcessRegressor, points: NDArray[np.float64], target: float
) -> NDArray[np.float64]:
    mean, deviation = process.predict(points, return_std=True)
    # The deviation of the function, not of a noisy look at it.
    noise = process.kernel_.k2.noise_level * np.square(process._y_train_std)
    deviation = np.sqrt(np.maximum(np.square(deviation) - noise, 1e-9))
    z = (target - mean) / deviation
    improvement: NDArray[np.float64] = deviation * (z * norm.cdf(z) + norm.pdf(z))
    return improvement


def _candidates(leading: NDArray[np.float64], choices: Sequence[int], rng: np.random.Generator) -> NDArray[np.float64]:
    size = leading.shape[1]
    near = np.clip(leading[:, None] + rng.normal(0.0, 0.08, (len(leading), _NEIGHBOURS, size)), 0.0, 1.0)
    near = near.reshape(-1, size)
    # A step of that size leads to no other choice, so now and then one is drawn anew.
    anew = (np.array(choices) > 0) & (rng.random(near.shape) < _ANOTHER_CHOICE)
    near[anew] = rng.random(int(anew.sum()))
    return np.concatenate((Sobol(size, seed=rng).random(_CANDIDATES), near))
