"""An interval for a mean that is valid at every task at once, and so at any time one stops.

Predictable plug-in empirical Bernstein: with weights ``w_t`` in (0, cap] and predictions ``m_(t-1)`` that depend on
earlier tasks alone, and ``psi(w) = -ln(1 - w) - w``, the mean lies in

    (sum of w_t x_t  -+  (L + sum of (x_t - m_(t-1))^2 psi(w_t))) / sum of w_t

for all t together with probability at least ``1 - delta``; ``L = ln(2 / delta)`` for both sides, ``ln(1 / delta)`` for
one. Since all intervals hold together, so does their intersection.

References:
    [WaudbySmith24] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024,
        arXiv 2010.09686. Theorem 2.
    [Howard21] Howard, Ramdas, McAuliffe, Sekhon. Time-uniform, nonparametric, nonasymptotic confidence sequences.
        Annals of Statistics 49, 2021. Theorem 4 (the supermartingale).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.bounds._certificates import certificate_of_mean
from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds._predictable import Moments, bet_sizes, check_observation, select
from hypertune.bounds.utilities import TaskOrigin, check_origin, check_utilities
from hypertune.errors import ConfigError, did_you_mean
from hypertune.records import Certificate

__all__ = ["ConfidenceSequence", "Sides", "confidence_sequence_certificate"]

Sides: TypeAlias = Literal["both", "lower", "upper"]

_CAP = 0.75  # of a weight; 0.5 is better for coins, 0.9 for utilities that hardly vary, as paired ones do
_SIDES = ("both", "lower", "upper")


@dataclass(frozen=True, slots=True)
class ConfidenceSequence:
    """Intervals for many means, each fed one task at a time; a step costs the same at every task.

    Given all that was seen before, each observation of an entry must have the entry's mean. Independent tasks ensure
    it, except for a candidate that was proposed after task t: it may count later tasks only.

    Attributes:
        lower: Lower ends, in [0, 1]; never decreasing. 0 where only an upper end was asked for.
        upper: Upper ends, in [0, 1]; never increasing. 1 where only a lower end was asked for.
        moments: Mean and variance of what was seen.
        sides: Which ends were asked for.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    moments: Moments
    sides: Sides
    _log: NDArray[np.float64]
    _weights: NDArray[np.float64]
    _weighted: NDArray[np.float64]
    _penalty: NDArray[np.float64]

    @classmethod
    def start(cls, shape: int | tuple[int, ...], delta: ArrayLike, *, sides: Sides = "both") -> ConfidenceSequence:
        """Return the intervals before the first task: [0, 1] everywhere.

        Args:
            shape: Shape of the means; ``()`` for a single one.
            delta: Probability that an entry's interval is ever wrong, in (0, 1); one number, or one for each entry.
            sides: ``both`` for intervals; ``lower`` or ``upper`` for one end, which is then tighter.

        Raises:
            ConfigError: ``delta`` is out of range, or ``sides`` is unknown.
        """
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        if sides not in _SIDES:
            raise ConfigError("is not known", where="sides", given=sides, fix=did_you_mean(sides, _SIDES))
        levels = np.broadcast_to(np.asarray(delta, dtype=np.float64), size)
        if levels.size:
            check_delta(float(levels.min()))
            check_delta(float(levels.max()))
        zeros = np.zeros(size)
        log = np.log((2 if sides == "both" else 1) / levels)
        return cls(zeros, np.ones(size), Moments.start(size), sides, log, zeros, zeros, zeros)

    def update(self, utilities: ArrayLike, where: NDArray[np.bool_] | None = None) -> ConfidenceSequence:
        """Return the intervals after one more task.

        Args:
            utilities: One for each entry, in the shape of the means, in [0, 1].
            where: Entries that were observed, in the same shape; the others keep their interval, and their utilities
                are not looked at. It must be decided before the task is seen.

        Raises:
            TaskError: Another shape, or a utility that counts is not in [0, 1].
        """
        x = check_observation(utilities, self.lower.shape, where)
        weight = np.minimum(bet_sizes(self.moments.variance, self.moments.count, self._log, None), _CAP)
        weights = self._weights + weight
        weighted = self._weighted + weight * x
        penalty = self._penalty - np.square(x - self.moments.mean) * (np.log1p(-weight) + weight)
        centre, radius = weighted / weights, (self._log + penalty) / weights
        lower = (
            self.lower if self.sides == "upper" else select(where, np.maximum(self.lower, centre - radius), self.lower)
        )
        upper = (
            self.upper if self.sides == "lower" else select(where, np.minimum(self.upper, centre + radius), self.upper)
        )
        return ConfidenceSequence(
            lower,
            upper,
            self.moments.update(x, where),
            self.sides,
            self._log,
            select(where, weights, self._weights),
            select(where, weighted, self._weighted),
            select(where, penalty, self._penalty),
        )


def confidence_sequence_certificate(
    utilities: ArrayLike, delta: float, *, candidates: int = 1, tasks: TaskOrigin = "independent"
) -> Certificate:
    """Bound the expected utility of the best of K candidates from below, whatever decided when to stop.

    Args:
        utilities: Of the chosen candidate, ``(tasks,)`` in [0, 1], in the order they were seen; at least 2.
        delta: Probability of error, in (0, 1); each candidate gets ``delta / K``.
        candidates: K, all that it could have been, fixed before the first task.
        tasks: Where the tasks come from.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta`` or ``candidates`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    check_origin(tasks)
    values = check_utilities(utilities)
    level = check_delta(delta) / check_count(candidates, "candidates")
    sequence = ConfidenceSequence.start((), level, sides="lower")
    for value in values:
        sequence = sequence.update(value)
    return certificate_of_mean(
        "confidence sequence",
        values,
        float(sequence.lower),
        delta=delta,
        candidates=candidates,
        source="[WaudbySmith24] Theorem 2, one-sided" + (", union bound" if candidates > 1 else ""),
        anytime=True,
    )
