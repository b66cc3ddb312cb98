"""The next point of a search that has predictions, or has none.

References:
    [Jones98] Jones, Schonlau, Welch. Efficient Global Optimization of Expensive Black-Box Functions. Journal of Global
        Optimization 13, 1998.
    [Ginsbourger10] Ginsbourger, Le Riche, Carraro. Kriging Is Well-Suited to Parallelize Optimization. 2010.
    [Ament23] Ament, Daulton, Eriksson, Balandat, Bakshy. Unexpected Improvements to Expected Improvement for Bayesian
        Optimization. NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm
from scipy.stats.qmc import Sobol

from hypertune.samplers._expected_improvement import (
    NEIGHBOURS,
    draw_candidates,
    log_improvement,
    normal_scores,
    worth_keeping,
)
from hypertune.samplers._features import features
from hypertune.samplers._gaussian_process import GaussianProcess
from hypertune.samplers._mip_landscape import PredictedLandscape
from hypertune.samplers._mip_process import CalibratedProcess
from hypertune.samplers._prior import Calibration

__all__ = ["calibrate", "next_point"]

Array = NDArray[np.float64]

_LEADING = 3  # trials, and candidates, that are worth a closer look
_NEAR = 16  # new predictions for the neighbours of leading trials: each costs a pass over the validation data
_BEST = 128
_OTHERS = 384
_SPREAD = 0.08
_STEPS = 15
_STEPS_OF_PREDICTION = 5  # each costs the time of some three passes over the validation data
_LEAST_SPREAD = 0.25  # of predictions over trials, in standard deviations of the predictions over the space


def calibrate(landscape: PredictedLandscape, x: Array, y: Array, choices: Sequence[int]) -> Calibration:
    """Return how far predictions can be trusted after trials at ``x``, ``(n, d)``, with values ``y``, ``(n,)``."""
    if landscape.flat:
        return Calibration()
    scores = normal_scores(y)
    plain = GaussianProcess(features(x, choices), scores)
    return Calibration.of(landscape(x), scores, plain.whiten, least_spread=_LEAST_SPREAD)


def next_point(
    x: Array,
    y: Array,
    pending: Array,
    *,
    seed: int,
    choices: Sequence[int],
    landscape: PredictedLandscape | None = None,
) -> Array:
    """Return the point of the largest expected improvement ([Jones98] eq. 15), in its logarithm ([Ament23]).

    The process is fitted to normal scores of the values; running trials count with the values it predicts for them
    ([Ginsbourger10] section 3.2). Candidates are a low-discrepancy sequence, neighbours of the best trials, and, when
    trials bear the predictions out, configurations predicted to be good; the most promising are polished with the
    gradients of process and predictions: three of them, or one where each step costs passes over the validation data.
    When trials do not, the result is the one without predictions.

    Args:
        x: Points, ``(n, d)`` in [0, 1], n at least 2.
        y: Values, ``(n,)``, to be minimized; infinite ones rank last.
        pending: Points that are being evaluated, ``(p, d)``.
        seed: Seed of the candidates.
        choices: Number of unordered choices on each axis, 0 where values are ordered.
        landscape: Predictions over the same axes.

    Returns:
        ``(d,)`` in [0, 1].
    """
    kept = worth_keeping(y)
    x, y = x[kept], y[kept]
    calibration = Calibration() if landscape is None else calibrate(landscape, x, y, choices)
    rng = np.random.default_rng(seed)
    leading = x[np.argsort(y, kind="stable")[:_LEADING]]
    if landscape is None or calibration.weight == 0.0:
        landscape = None
        candidates = draw_candidates(leading, choices, rng)
    else:
        candidates = _predicted_candidates(leading, choices, landscape, rng)
    improvement = _Improvement(x, y, pending, choices, landscape, calibration)
    gains = improvement(candidates)
    order = np.argsort(-gains, kind="stable")[: _LEADING if landscape is None else 1]
    polished = [improvement.climb(candidates[i]) for i in order]
    return max(polished, key=lambda pair: pair[1])[0]


def _predicted_candidates(
    leading: Array, choices: Sequence[int], landscape: PredictedLandscape, rng: np.random.Generator
) -> Array:
    size = leading.shape[1]
    near = draw_candidates(leading, choices, rng)[-len(leading) * NEIGHBOURS :]
    near = near[rng.choice(len(near), min(_NEAR, len(near)), replace=False)]
    order = np.argsort(landscape.values, kind="stable")
    best, others = order[:_BEST], order[_BEST:]
    others = others[rng.choice(len(others), min(_OTHERS, len(others)), replace=False)]
    # What is not covered: as the best trials have it, or anything.
    kept = leading[rng.integers(len(leading), size=len(best))]
    kept = np.clip(kept + rng.normal(0.0, _SPREAD, kept.shape), 0.0, 1.0)
    drawn = Sobol(size, seed=rng).random(len(best) + len(others))
    blocks = [kept, drawn]
    for block, rows in zip(blocks, (best, np.concatenate((best, others))), strict=True):
        block[:, landscape.covered] = landscape.points[rows]
    return np.concatenate((*blocks, near))


class _Improvement:
    """Logarithm of the expected improvement over the unit cube, with its gradient."""

    def __init__(
        self,
        x: Array,
        y: Array,
        pending: Array,
        choices: Sequence[int],
        landscape: PredictedLandscape | None,
        calibration: Calibration,
    ) -> None:
        self._choices, self._landscape = choices, landscape
        self._process = CalibratedProcess(features(x, choices), normal_scores(y), self._predicted(x), calibration)
        if len(pending):
            self._process.believe(features(pending, choices), self._predicted(pending))
        self._target = self._process.lowest
        self._ordered = np.array([number == 0 for number in choices])
        widths = [max(number, 1) for number in choices]
        starts = np.concatenate(([0], np.cumsum(widths)))[:-1].astype(int)
        self._columns, self._size = starts[self._ordered], int(sum(widths))

    def __call__(self, points: Array) -> Array:
        """Return values ``(m,)`` at points ``(m, d)``."""
        mean, deviation = self._process.predict(features(points, self._choices), self._predicted(points))
        gains: Array = np.log(deviation) + log_improvement((self._target - mean) / deviation)
        return gains

    def climb(self, start: Array) -> tuple[Array, float]:
        """Follow the gradient from a point over the ordered axes; return the best point and its value."""
        before = float(self(start[None])[0])
        if not self._ordered.any():
            return start, before

        def objective(ordered: Array) -> tuple[float, Array]:
            point = start.copy()
            point[self._ordered] = ordered
            value, gradient = self._with_gradient(point)
            return -value, -gradient[self._ordered]

        bounds = [(0.0, 1.0)] * int(self._ordered.sum())
        steps = _STEPS if self._landscape is None else _STEPS_OF_PREDICTION
        found = minimize(
            objective, start[self._ordered], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
        )
        if not -found.fun > before:
            return start, before
        point = start.copy()
        point[self._ordered] = np.clip(found.x, 0.0, 1.0)
        return point, -float(found.fun)

    def _with_gradient(self, point: Array) -> tuple[float, Array]:
        points = features(point[None], self._choices)
        slopes = np.zeros((1, self._size))
        z = np.zeros(1)
        if self._landscape is not None:
            z, gradient = self._landscape.gradient(point[None])
            slopes[:, self._columns] = gradient[:, self._ordered]
        mean, deviation = self._process.predict(points, z)
        of_mean, of_deviation = self._process.gradient(points, z, slopes)
        distance = (self._target - mean) / deviation
        log_gain = log_improvement(distance)
        # d log h / dz = Phi(z) / h(z) for h(z) = phi(z) + z Phi(z).
        steepness = np.exp(norm.logcdf(distance) - log_gain)[:, None]
        turn = (-of_mean - distance[:, None] * of_deviation) / deviation[:, None]
        inner = of_deviation / deviation[:, None] + steepness * turn
        outer = np.zeros(len(point))
        outer[self._ordered] = inner[0, self._columns]
        return float((np.log(deviation) + log_gain)[0]), outer

    def _predicted(self, points: Array) -> Array:
        return np.zeros(len(points)) if self._landscape is None else self._landscape(points)
