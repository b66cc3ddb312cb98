"""``racing``: stop a candidate as soon as another one is shown to be better on the same tasks.

A trial is a candidate, a step is a task, and the value reported at it is the candidate's utility on that task. All
trials take the tasks in the same order, an order that does not depend on utilities. A trial is compared with those
that have seen all tasks by then, pair by pair on the tasks both have: a bet on the paired difference, valid at
every task at once, so that looking after each task costs nothing. All comparisons of K candidates that were fixed
beforehand share ``delta``: with probability at least ``1 - delta`` none of them is stopped for a worse one. Only the
few completed trials with the best means are asked to testify, since hardly anything else would speak; the level is that
of all pairs, so choosing witnesses by their utilities is paid for.

Trials run one after the other here, or a few in parallel: the first one always sees all tasks, and a good one is
compared only with what was complete when it began. `hypertune.samplers.race_tasks` keeps all trials open and takes
them through the tasks side by side, which needs fewer evaluations; ``tests/benchmarks/test_racing.py`` measures both.

References:
    [WaudbySmith24] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024,
        arXiv 2010.09686.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hypertune.bounds.betting_test import BettingTest
from hypertune.samplers._race import Race, utility_table
from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "RacingPruner", "racing"]

Array = NDArray[np.float64]

_WITNESSES = 6


@dataclass(slots=True)
class _Progress:
    """How far the comparisons of one running trial have come; it can be rebuilt from the study at any time."""

    complete: int
    rows: dict[int, Array]
    test: BettingTest
    seen: int = 0
    last: int = -1


class RacingPruner(BasePruner):
    """Stops a trial when a completed one is shown to have the larger mean utility.

    It is no test of a curve: steps must be independent tasks, never epochs. A task that failed is reported as NaN and
    counts for neither side. Options that are None are those of the study's sampler when that is a `DataDrivenSampler`,
    else what is said below.

    The guarantee is about candidates that do not depend on the tasks: a design, a grid, random points. A candidate
    that was proposed after looking at these tasks, as by TPE or by the refinement of `DataDrivenSampler`, is judged by
    the same test with a smaller level, and without a guarantee.

    Args:
        candidates: Trials that are fixed before the first task, from 2; None: unknown, and each comparison pays for
            the number of the later trial.
        delta: Probability that any comparison is wrong, in (0, 1); 0.05.
        low: Value of the metric that counts as the lowest, 0; limits must not come from values that were seen.
        high: Value of the metric that counts as the highest, 1.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        *,
        candidates: int | None = None,
        delta: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        given = {"candidates": candidates, "delta": delta, "low": low, "high": high}
        self._given = {name: value for name, value in given.items() if value is not None}
        self._own = Race(**self._given)  # type: ignore[arg-type]
        self._progress: dict[tuple[int, int], _Progress] = {}

    def race(self, study: Study) -> Race:
        """Return the levels and limits that hold in a study."""
        of_sampler = getattr(study.sampler, "race", None)
        if not isinstance(of_sampler, Race):
            return self._own
        if not self._given:
            return of_sampler
        inherited = {name: getattr(of_sampler, name) for name in ("candidates", "delta", "low", "high")}
        return Race(**{**inherited, **self._given}, open=of_sampler.open)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether a completed trial is shown to be better than this one.

        Raises:
            TaskError: A reported value has no utility.
        """
        race, direction = self.race(study), study.direction
        key = (study._study_id, trial.number)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        progress = self._progress.get(key)
        if progress is None or progress.complete != len(finished):
            self._forget(study)
            progress = self._progress[key] = _begin(finished, race, study, trial.number)
        values = trial.intermediate_values
        for step in _unseen(values, progress):
            utility = race.utility(values[step], direction)
            row = progress.rows.get(step)
            if row is not None and not math.isnan(utility):
                where = ~np.isnan(row)
                pairs = np.where(where, (row - utility + 1) / 2, 0.5)
                progress.test = progress.test.update(pairs, where)
        progress.seen, progress.last = len(values), max(values, default=-1)
        return bool(progress.test.refuted.any())

    def _forget(self, study: Study) -> None:
        """Drop what is kept of trials that have ended."""
        running = {(study._study_id, t.number) for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
        self._progress = {key: kept for key, kept in self._progress.items() if key in running}


def _unseen(values: dict[int, float], progress: _Progress) -> list[int]:
    """Tasks that were reported since the last look, in their order."""
    new = len(values) - progress.seen
    if new == 1 and (last := next(reversed(values))) > progress.last:  # the usual case, in constant time
        return [last]
    return sorted(values)[progress.seen :] if new > 0 else []


def _begin(finished: Sequence[FrozenTrial], race: Race, study: Study, number: int) -> _Progress:
    """Choose the witnesses, and start the comparisons with them from the first task."""
    steps, table = utility_table(finished, race, study.direction)
    seen = ~np.isnan(table)
    means = np.where(seen, table, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    chosen = np.argsort(-means, kind="stable")[:_WITNESSES]
    levels = race.pair_levels([finished[column].number for column in chosen], number)
    rows = dict(zip(steps, table[:, chosen], strict=True))
    return _Progress(len(finished), rows, BettingTest.start(len(chosen), levels))


def racing(*, epochs: int, **options: Any) -> BasePruner:
    """Build a `RacingPruner`; the epochs of a trial do not matter to it."""
    return construct(RacingPruner, {}, options, where="pruner")


PRUNER = racing
