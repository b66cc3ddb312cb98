"""A race in which all candidates take each task together, so that every one is a witness from the first task on.

The loop keeps one Optuna trial open for each candidate. What it needs beyond `RacingPruner` is only that one caller
evaluates (candidate, task) pairs; a worker that runs a trial from its start to its end cannot interleave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from hypertune.bounds._checks import check_count
from hypertune.bounds.betting_test import BettingTest
from hypertune.bounds.confidence_sequence import ConfidenceSequence
from hypertune.errors import ConfigError, HypertuneError, TaskError
from hypertune.records import Params
from hypertune.samplers.data_driven import DataDrivenSampler
from hypertune.space import SearchSpace

__all__ = ["RaceOutcome", "race_tasks"]

T = TypeVar("T")
Array = NDArray[np.float64]

FAILURES = "hypertune:failed_tasks"
"""User attribute of a trial: what was raised on the tasks that failed for it, by task."""

_LOST_CAUSE = 3  # failures, and more than a fifth of the tasks, after which it is the candidate that fails


@dataclass(frozen=True, slots=True)
class RaceOutcome:
    """How a race ended.

    Attributes:
        survivors: Trial numbers of the candidates that no other was shown to beat, best mean first.
        ended: ``one candidate survives``, ``certificate``, ``budget`` or ``tasks``.
        tasks: Tasks that were taken.
        evaluations: Pairs of candidate and task that were evaluated in this call.
        failed: Tasks left out for all, since they failed for one that was in the race.
        margin: Of the winner: its mean utility minus its lower confidence bound, which pays for all candidates and
            holds at any stopping time.
    """

    survivors: tuple[int, ...]
    ended: str
    tasks: int
    evaluations: int
    failed: tuple[int, ...]
    margin: float


def race_tasks(
    study: Study, evaluate: Callable[[Params, T], float], tasks: Iterable[T], *, budget: int | None = None
) -> RaceOutcome:
    """Race the design of a study's `DataDrivenSampler` over tasks, and tell the study how each candidate did.

    All candidates are evaluated on a task before the next one is taken. A candidate that is shown to be worse than
    another ends as a pruned trial; those that are left at the end are complete, with their mean value. The race ends
    when one candidate is left, when the sampler's ``epsilon`` is reached, or when tasks or budget are spent.

    A task that fails for a candidate (``evaluate`` raises, or returns NaN) is recorded on its trial and left out for
    all. A candidate that fails on more than a fifth of its tasks, and at least three, ends as a failed trial.

    After an interruption, call it again with the same study and the same tasks: what was reported is not evaluated
    again.

    Args:
        study: Its sampler is a `DataDrivenSampler` with a space; it has no complete trials.
        evaluate: Returns the study's metric for a configuration on a task.
        tasks: Independent tasks, in an order that does not depend on utilities; at least 2.
        budget: Most evaluations in this call; None: no limit.

    Raises:
        ConfigError: The study has another sampler, a sampler without a space, or complete trials; or ``budget`` is out
            of range.
        TaskError: Fewer than 2 tasks, or a value that is no utility.
    """
    sampler, space = _prepared(study)
    limit = math.inf if budget is None else check_count(budget, "budget")
    lanes = _open(study, sampler, space)
    race, size = sampler.race, len(lanes)
    alive = np.ones(size, dtype=bool)
    numbers = [lane.number for lane in lanes]
    # Entry (i, j): is j better than i?
    levels = np.array([race.pair_levels(numbers, number) for number in numbers])
    np.fill_diagonal(levels, 0.5)
    test = BettingTest.start((size, size), levels)
    bounds = ConfidenceSequence.start(size, race.delta / size, sides="lower")
    totals, counted = np.zeros(size), 0
    evaluations, taken, failed, ended = 0, 0, [], "tasks"
    margin = 1.0
    for step, task in enumerate(tasks):
        if evaluations + sum(step not in lanes[i].values for i in np.flatnonzero(alive)) > limit:
            ended = "budget"
            break
        for i in np.flatnonzero(alive):
            alive[i] = step in lanes[i].values or not lanes[i].ended
        row = np.full(size, np.nan)
        for i in np.flatnonzero(alive):
            evaluations += step not in lanes[i].values
            row[i] = race.utility(lanes[i].value(step, task, evaluate), study.direction)
        taken = step + 1
        for i in np.flatnonzero(alive & np.isnan(row)):
            if lanes[i].lost:
                lanes[i].end(study, TrialState.FAIL)
                alive[i] = False
        if not alive.any():
            raise TaskError(
                "every candidate failed", where="tasks", given=lanes[0].why(), fix="make evaluate work on one task"
            )
        if np.isnan(row[alive]).any():
            failed.append(step)
            continue
        totals, counted = totals + np.where(alive, row, 0.0), counted + 1
        both = alive[:, None] & alive[None, :] & ~np.eye(size, dtype=bool)
        test = test.update(np.where(both, (row[None, :] - row[:, None] + 1) / 2, 0.5), both)
        bounds = bounds.update(np.where(alive, row, 0.5), alive)
        for i in np.flatnonzero(alive & (test.refuted & both).any(axis=1)):
            lanes[i].end(study, TrialState.PRUNED)
            alive[i] = False
        best = int(np.argmax(np.where(alive, totals, -1.0)))
        margin = float(totals[best] / counted - bounds.lower[best])
        if alive.sum() == 1:
            ended = "one candidate survives"
            break
        if sampler.epsilon is not None and margin <= sampler.epsilon:
            ended = "certificate"
            break
    if taken < 2:
        raise TaskError("too few tasks to race on", where="tasks", given=taken, expected="at least 2 tasks")
    order = sorted(np.flatnonzero(alive), key=lambda i: -totals[i])
    for i in order:
        lanes[i].end(study, TrialState.COMPLETE, lanes[i].mean(failed))
    return RaceOutcome(tuple(numbers[i] for i in order), ended, taken, evaluations, tuple(failed), margin)


class _Lane:
    """One candidate: its open trial and its values so far."""

    def __init__(self, trial: Trial, frozen: FrozenTrial) -> None:
        self.trial, self.number, self.params = trial, frozen.number, frozen.params
        self.ended = frozen.state.is_finished()
        self.values: dict[int, float] = dict(frozen.intermediate_values)
        self._errors: dict[str, str] = dict(frozen.user_attrs.get(FAILURES, {}))

    def value(self, step: int, task: T, evaluate: Callable[[Params, T], float]) -> float:
        """Value on a task, evaluated unless it is known."""
        if step not in self.values:
            try:
                value, why = float(evaluate(self.params, task)), "NaN"
            except HypertuneError as error:
                if isinstance(error, ConfigError):
                    raise
                value, why = math.nan, str(error)
            except Exception as error:
                value, why = math.nan, f"{type(error).__name__}: {error}"
            if math.isnan(value):
                self._errors[str(step)] = why
                self.trial.set_user_attr(FAILURES, self._errors)
            self.trial.report(value, step)
            self.values[step] = value
        return self.values[step]

    def end(self, study: Study, state: TrialState, value: float | None = None) -> None:
        """Tell the study, which may know it from the call that was interrupted."""
        if not self.ended:
            study.tell(self.trial, value, state=state)
            self.ended = True

    @property
    def lost(self) -> bool:
        """Whether the candidate fails, not the tasks."""
        failures = sum(math.isnan(value) for value in self.values.values())
        return failures >= _LOST_CAUSE and 5 * failures > len(self.values)

    def why(self) -> str:
        """What was raised last."""
        return next(reversed(self._errors.values()), "")

    def mean(self, failed: list[int]) -> float:
        """Mean value over the tasks that failed for nobody."""
        left_out = set(failed)
        return float(np.mean([value for step, value in self.values.items() if step not in left_out]))


def _prepared(study: Study) -> tuple[DataDrivenSampler, SearchSpace]:
    sampler = study.sampler
    if not isinstance(sampler, DataDrivenSampler) or sampler.space is None:
        raise ConfigError(
            "has no candidates to race",
            where="study.sampler",
            given=type(sampler).__name__,
            expected="DataDrivenSampler(space, ...)",
        )
    if study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise ConfigError("has raced already", where="study", given=study.study_name, fix="race in a new study")
    return sampler, sampler.space


def _open(study: Study, sampler: DataDrivenSampler, space: SearchSpace) -> list[_Lane]:
    """Open a trial for each point of the design that has none."""
    if space.conditions:
        raise ConfigError("has conditional hyperparameters", where="space", fix="race them in a study of its own")
    # Those of a call that was interrupted: it is replayed from what they reported.
    known = [trial for trial in study.get_trials(deepcopy=False) if trial.state is not TrialState.WAITING]
    lanes = [_Lane(Trial(study, trial._trial_id), trial) for trial in known]
    while len(lanes) < sampler.design_size:
        trial = study.ask(dict(space.distributions))
        lanes.append(_Lane(trial, study.get_trials(deepcopy=False)[trial.number]))
    return lanes
