"""The race that a study is: what a candidate's utilities are, which levels comparisons have, and who is refuted.

Trials are candidates, steps are tasks, and a reported value is the utility of one candidate on one task.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.betting_test import BettingTest
from hypertune.errors import ConfigError, TaskError

__all__ = ["Race", "refuted_by_others", "utility_table"]

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Race:
    """What all comparisons of a study have in common.

    Attributes:
        candidates: Candidates that were fixed before the first task: the trials with the first numbers. None: nobody
            said how many, and each trial pays for having come later.
        delta: Probability that any comparison of fixed candidates is wrong, in (0, 1).
        low: Value that counts as utility 0 (as 1 when values are minimized); None: 0, and no value may lie outside.
        high: Value that counts as utility 1 (as 0 when values are minimized); None: 1, and no value may lie outside.
        open: Whether further candidates follow the fixed ones; half of delta is kept for them.
    """

    candidates: int | None = None
    delta: float = 0.05
    low: float | None = None
    high: float | None = None
    open: bool = True

    def __post_init__(self) -> None:
        if self.candidates is not None:
            check_count(self.candidates, "candidates", 2)
        check_delta(self.delta)
        low, high = self.limits
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(
                "limits span no range",
                where="low, high",
                given=(self.low, self.high),
                expected="two finite numbers, low below high, fixed before the first task",
            )

    @property
    def limits(self) -> tuple[float, float]:
        """Values that the range of utilities is mapped from, smallest first."""
        return 0.0 if self.low is None else self.low, 1.0 if self.high is None else self.high

    def utility(self, value: float, direction: StudyDirection) -> float:
        """Return the utility in [0, 1] of a reported value; NaN, a task that failed, stays NaN.

        Raises:
            TaskError: The value lies outside [0, 1], and no limits were given.
        """
        if math.isnan(value):
            return math.nan
        low, high = self.limits
        if self.low is None and self.high is None and not -1e-9 <= value <= 1 + 1e-9:
            raise TaskError(
                "lies outside [0, 1]",
                where="utility",
                given=value,
                expected="values in [0, 1], such as an accuracy or an error rate",
                fix="give the limits of the metric to the sampler, low and high, fixed before the first task and not "
                "from values that were seen; what lies beyond them is clipped",
            )
        share = (min(max(value, low), high) - low) / (high - low)  # clipped first: a value may be infinite
        return 1.0 - share if direction is StudyDirection.MINIMIZE else share

    def pair_levels(self, better: Sequence[int], worse: int) -> Array:
        """Return the level of "trial b has the larger mean than trial ``worse``", for each b of ``better``.

        It is `hypertune.bounds.candidates.CandidateSet.pair_level` with trials added in the order of their numbers.
        """
        numbers = np.maximum(np.asarray(better, dtype=np.float64), worse)
        fixed = self.candidates or 2
        share = self.delta / 2 if self.open else self.delta
        added = self.delta / 2 * 6 / (math.pi * np.maximum(numbers - fixed + 1, 1)) ** 2 / (2 * np.maximum(numbers, 1))
        if not self.open:  # all of delta is spent: a trial that follows all the same is never stopped
            added = np.full_like(numbers, np.finfo(np.float64).tiny)
        return np.where(numbers < fixed, share / (fixed * (fixed - 1)), added)


def utility_table(trials: Sequence[FrozenTrial], race: Race, direction: StudyDirection) -> tuple[list[int], Array]:
    """Return utilities of all tasks that any of the trials reported.

    Args:
        trials: Candidates.
        race: How values become utilities.
        direction: What the study does with the values.

    Returns:
        Tasks (steps) in their order, and ``(tasks, candidates)`` utilities: NaN where a candidate has none.

    Raises:
        TaskError: A value has no utility.
    """
    steps = sorted({step for trial in trials for step in trial.intermediate_values})
    row = {step: index for index, step in enumerate(steps)}
    table = np.full((len(steps), len(trials)), np.nan)
    for column, trial in enumerate(trials):
        for step, value in trial.intermediate_values.items():
            table[row[step], column] = race.utility(value, direction)
    return steps, table


def refuted_by_others(table: Array, numbers: Sequence[int], race: Race) -> NDArray[np.bool_]:
    """Return which candidates are refuted against another one on the tasks that both have utilities of.

    Args:
        table: Utilities, ``(tasks, candidates)``; NaN where there is none.
        numbers: Trial number of each candidate.
        race: The levels.
    """
    count = table.shape[1]
    if count < 2:
        return np.zeros(count, dtype=bool)
    # Entry (i, j): is j better than i?
    levels = np.array([race.pair_levels(numbers, number) for number in numbers])
    np.fill_diagonal(levels, 0.5)
    test = BettingTest.start((count, count), levels)
    for row in table:
        pairs = (row[None, :] - row[:, None] + 1) / 2
        seen = ~np.isnan(pairs)
        np.fill_diagonal(seen, val=False)
        test = test.update(np.where(seen, pairs, 0.5), seen)
    return np.asarray((test.refuted & ~np.eye(count, dtype=bool)).any(axis=1))
