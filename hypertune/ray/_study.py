"""The Optuna study behind a search algorithm, its trials known by Ray's trial ids."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from hypertune.records import TUNED, Direction, Params
from hypertune.samplers._ask import ask
from hypertune.space import SearchSpace

__all__ = ["TRIAL_ID", "RayStudy"]

TRIAL_ID = "ray:trial_id"
"""User attribute of an Optuna trial: Ray's id of it."""


class RayStudy:
    """A study in memory that a sampler proposes for.

    Everything about it, the sampler's random state included, is kept when it is pickled.

    Attributes:
        study: The study.
        space: The search space.
    """

    def __init__(self, space: SearchSpace, sampler: BaseSampler, direction: Direction) -> None:
        self.space = space
        self._storage = InMemoryStorage()
        self.study: Study = optuna.create_study(
            storage=self._storage, sampler=sampler, pruner=NopPruner(), direction=direction
        )
        self._end = _End()
        # Samplers that run out of values stop the study, which Optuna allows inside its own loop only.
        self.study.stop = self._end.come  # type: ignore[method-assign]
        self._numbers: dict[str, int] = {}

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing left to propose, as a grid has after its last point."""
        return self._end.reached

    def ask(self, trial_id: str) -> Params:
        """Return what a trial starts from, in the order of the space; the same when asked again."""
        if trial_id in self._numbers:
            params = self.trial(self._numbers[trial_id]).params
        else:
            trial = ask(self.study, self.space)
            trial.set_user_attr(TRIAL_ID, trial_id)
            self._numbers[trial_id] = trial.number
            params = trial.params
        return {name: params[name] for name in self.space.names if name in params}

    def find(self, trial_id: str) -> FrozenTrial | None:
        """Return the trial of an id; of one that was repeated, the last."""
        number = self._numbers.get(trial_id)
        return None if number is None else self.trial(number)

    def trial(self, number: int) -> FrozenTrial:
        """Return a trial; not to be modified."""
        return self._storage.get_trial(self._key(number))

    def open(self, trial_id: str, params: Params) -> FrozenTrial:
        """Add a running trial that the sampler did not propose; it is the trial of that id from now on."""
        distributions = {name: self.space.distributions[name] for name in params}
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=distributions,
                user_attrs={TRIAL_ID: trial_id},
            )
        )
        self._numbers[trial_id] = len(self.study.get_trials(deepcopy=False)) - 1
        return self.trial(self._numbers[trial_id])

    def report(self, number: int, step: int, value: float) -> None:
        """Record an intermediate value; a step that is reported again counts with its new value."""
        self._storage.set_trial_intermediate_value(self._key(number), step, value)

    def tune(self, number: int, tuned: Mapping[str, float]) -> None:
        """Record where in-trial tuning is now."""
        key = self._key(number)
        known = self._storage.get_trial(key).user_attrs.get(TUNED, {})
        self._storage.set_trial_user_attr(key, TUNED, {**known, **tuned})

    def prune(self, number: int, pruner: BasePruner) -> bool:
        """Return whether a pruner would stop a running trial."""
        self.study.pruner = pruner  # a pruner that groups trials is asked for the group of each new one too
        trial = self.trial(number)
        return bool(trial.intermediate_values) and pruner.prune(self.study, trial)

    def complete(self, number: int, value: float) -> None:
        """End a trial with a value, which is not NaN."""
        self.study.tell(number, value, state=TrialState.COMPLETE)

    def stop(self, number: int) -> None:
        """End a trial as stopped early; it keeps its last intermediate value."""
        self.study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int) -> None:
        """End a trial that has no value."""
        self.study.tell(number, state=TrialState.FAIL)

    def enqueue(self, params: Params) -> None:
        """Have values tried before the sampler's proposals; what they leave out is sampled."""
        self.study.enqueue_trial(dict(params))

    def add(self, params: Params, value: float | None, state: TrialState, steps: Mapping[int, float]) -> None:
        """Add a trial that was evaluated elsewhere; without a usable value it counts as failed."""
        if state is TrialState.PRUNED and value is not None and not steps:
            steps = {1: value}
        if value is None or math.isnan(value):
            state = TrialState.FAIL if state is TrialState.COMPLETE else state
            value = None
        options: dict[str, Any] = {} if state is TrialState.FAIL else {"value": value}
        self.study.add_trial(
            create_trial(
                state=state,
                params=dict(params),
                distributions={name: self.space.distributions[name] for name in params},
                intermediate_values=dict(steps),
                **options,
            )
        )

    def _key(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)


class _End:
    """Whether there is an end; apart from the study, so that both are the same object after pickling too."""

    def __init__(self) -> None:
        self.reached = False

    def come(self) -> None:
        self.reached = True
