"""What is known of values before a trial: a predictor, and how far real trials say it can be trusted.

References:
    [Liang08] Liang, Paulo, Molina, Clyde, Berger. Mixtures of g Priors for Bayesian Variable Selection. Journal of the
        American Statistical Association 103, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

__all__ = ["Calibration", "Predictor"]

Array = NDArray[np.float64]

_ODDS = 3.0  # of a rank signal before any trial: a predictor that was paid for mostly has one
_DROPPED = 0.5  # probability of a signal below which there is none: reached by nine trials without correlation
_LEAST = 4  # pairs below which a correlation says nothing


class Predictor(Protocol):
    """Predicts what is to be minimized from hyperparameters, without a trial."""

    @property
    def names(self) -> tuple[str, ...]:
        """The hyperparameters it covers, the axes of its points."""
        ...

    @property
    def epochs(self) -> float:
        """What it cost, in passes over the training data."""
        ...

    def predict(self, points: Array) -> Array:
        """Return predictions ``(n,)`` at points ``(n, d)`` in [0, 1]."""
        ...

    def gradient(self, points: Array) -> tuple[Array, Array]:
        """Return predictions ``(n,)`` and their gradients ``(n, d)`` at points ``(n, d)`` in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Calibration:
    """How values follow from predictions: ``value = a + weight * prediction`` plus what the predictor does not know.

    Values are normal scores of the trials' ranks. The constant a is left to whoever models the rest.

    Attributes:
        weight: Expected slope b, at least 0; exactly 0 when a rank signal is less likely than none.
        deviation: Standard deviation of b; 0 when the weight is 0.
        signal: Probability that values rise with predictions.
    """

    weight: float = 0.0
    deviation: float = 0.0
    signal: float = 0.0

    @classmethod
    def of(
        cls,
        predictions: Array,
        scores: Array,
        whiten: Callable[[Array], Array] = lambda values: values,
        *,
        least_spread: float = 1e-9,
    ) -> Calibration:
        """Compare predictions with values.

        Both hypotheses, b = 0 and b > 0, are weighed by Bayes: a regression of the scores on the predictions under the
        g prior with g = n, whose evidence for b other than 0 is that of [Liang08] equation 6; times the ratio of the
        posterior and the prior probability that b is positive. The weight is the mean of b over both hypotheses, so it
        shrinks by g / (1 + g) and by the probability of a signal.

        Args:
            predictions: ``(n,)``, finite.
            scores: ``(n,)``, finite, the smaller the better.
            whiten: Multiplies columns ``(n, k)`` by a root of the inverse covariance of the scores given b. Trials
                close to each other have similar values whatever is predicted: each is no evidence of its own.
            least_spread: Standard deviation of predictions below which they count as so far apart: trials that were
                all chosen for nearly the same prediction must not turn small differences into large ones.
        """
        n = len(scores)
        if n < _LEAST or np.ptp(predictions) < 1e-12 or np.ptp(scores) < 1e-12:
            return cls()
        constant, z, y = whiten(np.column_stack((np.ones(n), predictions, scores))).T
        z, y = (column - constant * (constant @ column) / (constant @ constant) for column in (z, y))
        z_size, y_size = float(np.linalg.norm(z)), float(np.linalg.norm(y))
        if min(z_size, y_size) < 1e-12:
            return cls()
        signal, mean, deviation = _posterior(float(np.clip(z @ y / (z_size * y_size), -1.0, 1.0)), n)
        if signal < _DROPPED:
            return cls(signal=signal)
        unit = y_size / z_size * min(1.0, float(np.std(predictions)) / least_spread)
        return cls(mean * unit, deviation * unit, signal)


def _posterior(correlation: float, n: int) -> tuple[float, float, float]:
    """Return the probability of a signal, and mean and standard deviation of a standardized slope over both cases."""
    unexplained = max(1.0 - correlation**2, 1e-12)
    g = float(n)
    two_sided = 0.5 * (n - 2) * math.log1p(g) - 0.5 * (n - 1) * math.log1p(g * unexplained)
    # Under b != 0, b has a Student t distribution with n - 1 degrees of freedom around the shrunk least squares slope.
    shrinkage = g / (1 + g)
    location, freedom = shrinkage * correlation, n - 1
    scale = math.sqrt(shrinkage * (1 - shrinkage * correlation**2) / freedom)
    edge = -location / scale
    above = max(float(t.sf(edge, freedom)), 1e-300)
    log_odds = math.log(_ODDS) + two_sided + math.log(2 * above)
    signal = 1 / (1 + math.exp(-log_odds))
    # Mean and second moment of the part above 0.
    density = float(t.pdf(edge, freedom)) / above
    first = (freedom + edge**2) / (freedom - 1) * density
    mean = location + scale * first
    second = _second_moment(edge, freedom, above)
    square = location**2 + 2 * location * scale * first + scale**2 * second
    expected = signal * mean
    return signal, expected, math.sqrt(max(signal * square - expected**2, 0.0))


def _second_moment(edge: float, freedom: int, above: float) -> float:
    """Return E[u^2 | u > edge] of a standard t, from the t with two degrees of freedom less."""
    ratio = math.sqrt((freedom - 2) / freedom)
    tail = float(t.sf(edge * ratio, freedom - 2))
    return freedom * ((freedom - 1) / (freedom - 2) * tail / above - 1)
