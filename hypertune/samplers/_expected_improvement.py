"""Where a Gaussian process expects the largest improvement.

References:
    [Jones98] Jones, Schonlau, Welch. Efficient Global Optimization of Expensive Black-Box Functions. Journal of Global
        Optimization 13, 1998.
    [Ginsbourger10] Ginsbourger, Le Riche, Carraro. Kriging Is Well-Suited to Parallelize Optimization. 2010.
    [Ament23] Ament, Daulton, Eriksson, Balandat, Bakshy. Unexpected Improvements to Expected Improvement for Bayesian
        Optimization. NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri
from scipy.stats.qmc import Sobol

from hypertune.samplers._features import features
from hypertune.samplers._gaussian_process import GaussianProcess

__all__ = ["NEIGHBOURS", "draw_candidates", "log_improvement", "most_promising", "normal_scores", "worth_keeping"]

_CANDIDATES = 512
NEIGHBOURS = 64  # of each leading trial
_MOST_TRIALS = 100
_ANOTHER_CHOICE = 0.3
_REFINEMENTS = (0.03, 0.01)


def normal_scores(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal quantiles of the ranks: the order is kept, and diverged trials are no outliers."""
    _, position, times = np.unique(y, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - 0.5 * (times - 1))[position]  # equal values share the mean of their ranks
    scores: NDArray[np.float64] = ndtri((ranks - 0.5) / len(y))
    return scores


def log_improvement(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(phi(z) + z Phi(z)), exact where the sum underflows ([Ament23] equation 9)."""
    result = np.empty_like(z)
    near = z > -1
    density = np.exp(-0.5 * np.square(z[near])) / math.sqrt(2 * math.pi)
    result[near] = np.log(density + z[near] * ndtr(z[near]))
    far = z[~near]
    # The bracket is 1/z^2 to first order; beyond -1,000 the difference drowns in rounding.
    bracket = 1 + math.sqrt(math.pi / 2) * far * erfcx(-far / math.sqrt(2))
    result[~near] = (
        -0.5 * np.square(far)
        - 0.5 * math.log(2 * math.pi)
        + np.where(far > -1e3, np.log(np.maximum(bracket, 1e-12)), -2 * np.log(-np.minimum(far, -1.0)))
    )
    return result


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
        seed: Seed of the candidates.
        choices: Number of unordered choices on each axis, 0 where values are ordered; None: all are ordered.

    Returns:
        ``(d,)`` in [0, 1].
    """
    kept = worth_keeping(y)
    x, y = x[kept], y[kept]
    choices = (0,) * x.shape[1] if choices is None else choices
    process = GaussianProcess(features(x, choices), normal_scores(y))
    if len(pending):
        process.believe(features(pending, choices))
    target = process.lowest
    rng = np.random.default_rng(seed)
    candidates = draw_candidates(x[np.argsort(y, kind="stable")[:3]], choices, rng)
    point: NDArray[np.float64] = candidates[0]
    largest = -math.inf
    for width in (None, *_REFINEMENTS):
        if width is not None:
            candidates = np.clip(point + rng.normal(0.0, width, (NEIGHBOURS, len(choices))), 0.0, 1.0)
        mean, deviation = process.predict(features(candidates, choices))
        gains = np.log(deviation) + log_improvement((target - mean) / deviation)
        if gains.max() > largest:
            point, largest = candidates[int(np.argmax(gains))], float(gains.max())
    return point


def worth_keeping(y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the positions of the trials that a model is fitted to: of many, the best and the latest."""
    if len(y) <= _MOST_TRIALS:
        return np.arange(len(y))
    best = np.argsort(y, kind="stable")[: _MOST_TRIALS // 2]
    return np.union1d(best, np.arange(len(y) - _MOST_TRIALS // 2, len(y)))


def draw_candidates(
    leading: NDArray[np.float64], choices: Sequence[int], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return points ``(m, d)``: a low-discrepancy sequence, and neighbours of the leading ones ``(k, d)``."""
    size = leading.shape[1]
    near = np.clip(leading[:, None] + rng.normal(0.0, 0.08, (len(leading), NEIGHBOURS, size)), 0.0, 1.0)
    near = near.reshape(-1, size)
    # A step of that size leads to no other choice, so now and then one is drawn anew.
    anew = (np.array(choices) > 0) & (rng.random(near.shape) < _ANOTHER_CHOICE)
    near[anew] = rng.random(int(anew.sum()))
    spread_out = (_low_discrepancy(size) + rng.random(size)) % 1.0  # a random shift keeps how even they are
    return np.concatenate((spread_out, near))


@cache
def _low_discrepancy(size: int) -> NDArray[np.float64]:
    points: NDArray[np.float64] = Sobol(size, scramble=False).random(_CANDIDATES)
    return points
