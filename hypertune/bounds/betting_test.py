"""Is a mean above a given number? A bet against it, fed one task at a time.

The wealth is that of `betting.betting_lower` without a plan, at one mean: the test refutes "at most m" as soon as that
lower bound reaches m, at a constant cost for each task. Where utilities vary little it needs less than half the tasks
of the confidence sequence.

References:
    [WaudbySmith24] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024,
        arXiv 2010.09686.
    [Ville39] Ville. Étude critique de la notion de collectif. 1939.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.bounds._checks import check_delta
from hypertune.bounds._predictable import Moments, bet_sizes, check_observation, select
from hypertune.bounds.betting import CAP
from hypertune.errors import ConfigError

__all__ = ["BettingTest"]


@dataclass(frozen=True, slots=True)
class BettingTest:
    """Tests of "the mean is at most ``null``", for many means, valid at every stopping time.

    Attributes:
        log_wealth: Natural logarithm of the wealth, 0 before the first task.
        peak: Largest ``log_wealth`` so far.
        moments: Mean and variance of what was seen.
        null: Refuted when the wealth reaches ``1 / delta``.
    """

    log_wealth: NDArray[np.float64]
    peak: NDArray[np.float64]
    moments: Moments
    null: float
    _log: NDArray[np.float64]

    @classmethod
    def start(cls, shape: int | tuple[int, ...], delta: ArrayLike, *, null: float = 0.5) -> BettingTest:
        """Return the tests before the first task.

        Args:
            shape: Shape of the means; ``()`` for a single one.
            delta: Probability that an entry is ever refuted although true, in (0, 1); one number, or one each.
            null: The mean to be refuted, in (0, 1); 1/2 for paired utilities ``(u - v + 1) / 2``.

        Raises:
            ConfigError: ``delta`` or ``null`` is out of range.
        """
        size = (shape,) if isinstance(shape, int) else tuple(shape)
        if not 0 < null < 1:
            raise ConfigError("is out of range", where="null", given=null, expected="a mean above 0 and below 1")
        levels = np.broadcast_to(np.asarray(delta, dtype=np.float64), size)
        if levels.size:
            check_delta(float(levels.min()))
            check_delta(float(levels.max()))
        return cls(np.zeros(size), np.zeros(size), Moments.start(size), null, -np.log(levels))

    @property
    def refuted(self) -> NDArray[np.bool_]:
        """Whether "the mean is at most ``null``" has ever been refuted, in the shape of the means."""
        return np.asarray(self.peak >= self._log)

    def update(self, utilities: ArrayLike, where: NDArray[np.bool_] | None = None) -> BettingTest:
        """Return the tests after one more task.

        Args:
            utilities: One for each entry, in the shape of the means, in [0, 1].
            where: Entries that were observed, in the same shape; the others stay as they are, and their utilities are
                not looked at. It must be decided before the task is seen.

        Raises:
            TaskError: Another shape, or a utility that counts is not in [0, 1].
        """
        x = check_observation(utilities, self.log_wealth.shape, where)
        bet = np.minimum(bet_sizes(self.moments.variance, self.moments.count, self._log, None), CAP / self.null)
        log_wealth = self.log_wealth + np.log1p(bet * (x - self.null))
        return BettingTest(
            select(where, log_wealth, self.log_wealth),
            select(where, np.maximum(self.peak, log_wealth), self.peak),
            self.moments.update(x, where),
            self.null,
            self._log,
        )
