"""Make a study whole again after its driver was killed.

The journal of events is written before the Optuna storage, so it knows everything the storage knows, and more. A trial
that ended according to the journal gets its end; one that was still running is marked failed and interrupted, and is
queued again with the same parameters and the same seed when the search goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from hypertune.driver.attributes import INTERRUPTED, REASON, RETRY_OF, SEED, attributes_of, result_of
from hypertune.driver.study_store import StudyStore, storage_errors
from hypertune.errors import StorageError
from hypertune.records import TUNED, Event, Failed, Finished, Pruned, Reported, Started

__all__ = ["recover", "repeat", "requeue"]

_REASON = "the driver ended before the trial did"


def recover(
    storage: BaseStorage, name: str, events: Iterable[Event], distributions: Mapping[str, BaseDistribution]
) -> list[Event]:
    """Complete a study in its durable storage from the journal.

    Args:
        storage: The durable storage.
        name: The study's name.
        events: Everything in the journal, in order.
        distributions: The search space, for trials the storage never saw.

    Returns:
        Events that the journal lacks, to be emitted.

    Raises:
        StorageError: The storage fails, or journal and storage belong to different studies.
    """
    started: dict[int, Started] = {}
    ends: dict[int, Finished | Pruned | Failed] = {}
    reports: dict[int, list[Reported]] = {}
    for event in events:
        if isinstance(event, Started):
            started[event.number] = event
        elif isinstance(event, Finished | Pruned | Failed):
            ends[event.number] = event
        elif isinstance(event, Reported):
            reports.setdefault(event.number, []).append(event)
    missing: list[Event] = []
    with storage_errors():
        study = storage.get_study_id_from_name(name)
        trials = storage.get_all_trials(study)
        for number in sorted(set(started) - {trial.number for trial in trials}):
            if number != len(trials):
                raise StorageError(
                    f"the run's journal has trial {number}, its Optuna study only {len(trials)} trials",
                    where="study.storage",
                    given=name,
                    fix="restore the storage file that belongs to this run folder",
                )
            trials.append(_add(storage, study, started[number], distributions))
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                end = ends.get(trial.number)
                if end is None:
                    end = Failed(trial.number, time.time(), _REASON, interrupted=True)
                    if trial.number not in started:
                        missing.append(_started(trial))
                    missing.append(end)
                _finish(storage, trial, end)
            elif trial.state.is_finished() and trial.number not in ends:
                if trial.number not in started:
                    missing.append(_started(trial))
                missing.append(_end_of(trial))
    return missing


def requeue(store: StudyStore) -> list[int]:
    """Queue every interrupted trial that was not repeated yet; returns their numbers."""
    trials = store.trials()
    repeated = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    queued = []
    for trial in trials:
        if trial.user_attrs.get(INTERRUPTED) and trial.number not in repeated:
            repeat(store, trial.number)
            queued.append(trial.number)
    return queued


def repeat(store: StudyStore, number: int) -> None:
    """Queue one interrupted trial."""
    trial = store.trials()[number]
    attributes = {RETRY_OF: number, SEED: trial.user_attrs.get(SEED)}
    store.study.enqueue_trial(dict(trial.params), user_attrs=attributes)


def _add(
    storage: BaseStorage, study: int, event: Started, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    attributes: dict[str, Any] = {SEED: event.seed}
    if event.retry_of is not None:
        attributes[RETRY_OF] = event.retry_of
    template = create_trial(
        state=TrialState.RUNNING,
        params=dict(event.params),
        distributions={name: distributions[name] for name in event.params},
        user_attrs=attributes,
    )
    template.datetime_start = datetime.fromtimestamp(event.time)
    return storage.get_trial(storage.create_new_trial(study, template_trial=template))


def _finish(storage: BaseStorage, trial: FrozenTrial, end: Finished | Pruned | Failed) -> None:
    values = [end.result.value] if isinstance(end, Finished) else None
    state = {Finished: TrialState.COMPLETE, Pruned: TrialState.PRUNED, Failed: TrialState.FAIL}[type(end)]
    attributes = attributes_of(end)
    for key, value in attributes.items():
        storage.set_trial_user_attr(trial._trial_id, key, value)
    if state is TrialState.PRUNED and trial.intermediate_values:
        # As `study.tell` does: a pruned trial's value is its last intermediate one.
        values = [trial.intermediate_values[max(trial.intermediate_values)]]
    storage.set_trial_state_values(trial._trial_id, state, values)


def _started(trial: FrozenTrial) -> Started:
    moment = trial.datetime_start.timestamp() if trial.datetime_start else time.time()
    attributes = trial.user_attrs
    return Started(
        trial.number, moment, dict(trial.params), attributes.get(SEED) or 0, retry_of=attributes.get(RETRY_OF)
    )


def _end_of(trial: FrozenTrial) -> Event:
    moment = trial.datetime_complete.timestamp() if trial.datetime_complete else time.time()
    if trial.state is TrialState.COMPLETE:
        return Finished(trial.number, moment, result_of(trial))
    reason = trial.user_attrs.get(REASON, "")
    if trial.state is TrialState.PRUNED:
        return Pruned(trial.number, moment, reason, tuned=trial.user_attrs.get(TUNED, {}))
    return Failed(trial.number, moment, reason, interrupted=bool(trial.user_attrs.get(INTERRUPTED)))
