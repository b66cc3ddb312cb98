"""The predictions of a predictor over the axes of a search: looked up where they were asked for before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats.qmc import Sobol

from hypertune.samplers._prior import Predictor

__all__ = ["PredictedLandscape"]

Array = NDArray[np.float64]

_ABSENT = 0.5  # where on its axis a hyperparameter is that the search does not have
_SMALL = 0.05  # quantile of predictions below which a configuration counts as one of the best
_MIDDLING = (0.3, 0.7)
_STEPS = 30


class PredictedLandscape:
    """Predictions at points of a search's unit cube, in units of their spread.

    Below the median they are linear in the prediction, above it logarithmic: how bad the bad ones are is of no
    interest, and a few enormous losses must not flatten the rest. A prediction that is no number counts as the worst.

    Args:
        predictor: Its names that are no axes of the search stay in the middle of theirs.
        names: The axes of the search; at least one is covered.
        size: Points of the low-discrepancy sequence over the covered axes that are predicted at once.
        seed: Seed of the sequence.

    Attributes:
        covered: Positions of the covered axes in ``names``.
        points: ``(size, c)``, the sequence over the covered axes.
        values: Predictions there, ``(size,)``, standardized.
    """

    def __init__(self, predictor: Predictor, names: Sequence[str], *, size: int, seed: int) -> None:
        self._predictor = predictor
        self.covered = np.array([i for i, name in enumerate(names) if name in predictor.names], dtype=int)
        self._columns = np.array([predictor.names.index(names[i]) for i in self.covered], dtype=int)
        self._known: dict[bytes, float] = {}
        self._lowest: Array | None = None
        power = max(1, math.ceil(math.log2(size)))
        self.points: Array = Sobol(len(self.covered), seed=np.random.default_rng(seed)).random_base2(power)
        raw = self._raw(self.points)
        finite = raw[np.isfinite(raw)]
        self._worst = float(finite.max()) if finite.size else 0.0
        raw = self._finite(raw)
        self._middle = float(np.median(raw))
        low = float(np.quantile(raw, _SMALL))
        self._scale = max((self._middle - low) / 1.645, 1e-12)
        self.values = self._standardized(raw)
        self.flat = float(np.ptp(raw)) < 1e-12

    def predicted(self, x: Array) -> Array:
        """Return the predictor's own predictions ``(n,)`` at points ``(n, d)`` of the search; not all may be finite."""
        return self._raw(x[:, self.covered])

    def __call__(self, x: Array) -> Array:
        """Return standardized predictions ``(n,)`` at points ``(n, d)`` of the search."""
        return self._standardized(self._finite(self.predicted(x)))

    def gradient(self, x: Array) -> tuple[Array, Array]:
        """Return standardized predictions ``(n,)`` and their gradients ``(n, d)`` at points ``(n, d)``."""
        raw, inner = self._predictor.gradient(self._full(x[:, self.covered]))
        raw = self._finite(raw)
        z = (raw - self._middle) / self._scale
        slope = np.where(z > 0, 1 / (1 + np.maximum(z, 0.0)), 1.0) / self._scale
        gradients = np.zeros_like(x)
        gradients[:, self.covered] = np.nan_to_num(inner[:, self._columns]) * slope[:, None]
        return self._standardized(raw), gradients

    def lowest(self) -> Array:
        """Return the covered coordinates ``(c,)`` of the lowest prediction: the best of the sequence, polished."""
        if self._lowest is None:
            self._lowest = self._polished()
        return self._lowest

    def spread_out(self, count: int) -> Array:
        """Return points ``(count, c)`` of the covered axes with low predictions, far from each other.

        The first is the lowest one; each other is the one of the best that is farthest from those before it. Every
        fourth is the farthest of those with a middling prediction: among good ones alone it would not show whether the
        predictions are true.
        """
        order = np.argsort(self.values, kind="stable")
        best = self.points[order[: max(count, round(_SMALL * len(order)))]]
        middling = self.points[order[round(_MIDDLING[0] * len(order)) : round(_MIDDLING[1] * len(order))]]
        chosen = [self.lowest()]
        while len(chosen) < count:
            among = middling if len(chosen) % 4 == 3 else best
            apart = np.linalg.norm(among[:, None] - np.array(chosen)[None], axis=2)
            chosen.append(among[int(np.argmax(apart.min(axis=1)))])
        return np.array(chosen)

    def _polished(self) -> Array:
        start: Array = self.points[int(np.argmin(self.values))]

        def objective(point: Array) -> tuple[float, Array]:
            raw, inner = self._predictor.gradient(self._full(point[None]))
            gradient = np.nan_to_num(inner[0, self._columns]) / self._scale
            return (float(self._finite(raw)[0]) - self._middle) / self._scale, gradient

        bounds = [(0.0, 1.0)] * len(start)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
        polished: Array = np.clip(found.x, 0.0, 1.0)
        return polished if found.fun < objective(start)[0] else start

    def _full(self, inner: Array) -> Array:
        full = np.full((len(inner), len(self._predictor.names)), _ABSENT)
        full[:, self._columns] = inner
        return full

    def _raw(self, inner: Array) -> Array:
        keys = [point.tobytes() for point in inner]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new:
            values = self._predictor.predict(self._full(inner[new]))
            self._known.update((keys[i], float(value)) for i, value in zip(new, values, strict=True))
        return np.array([self._known[key] for key in keys])

    def _finite(self, raw: Array) -> Array:
        return np.where(np.isfinite(raw), raw, self._worst)

    def _standardized(self, raw: Array) -> Array:
        z = (raw - self._middle) / self._scale
        return np.where(z > 0, np.log1p(np.maximum(z, 0.0)), z)
