"""What hypertune keeps of a trial in Optuna's user attributes, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from hypertune.records import TUNED, Cost, Failed, Finished, Pruned, TrialRecord, TrialResult
from hypertune.records import TrialState as StateName

__all__ = ["INTERRUPTED", "REASON", "RETRY_OF", "SEED", "attributes_of", "result_of", "trial_records"]

SEED = "hypertune:seed"
RETRY_OF = "hypertune:retry_of"
REASON = "hypertune:reason"
INTERRUPTED = "hypertune:interrupted"
_METRICS = "hypertune:metrics"
_COST = "hypertune:cost"
_CHECKPOINT = "hypertune:checkpoint"

_STATES: dict[TrialState, StateName] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


def attributes_of(end: Finished | Pruned | Failed) -> dict[str, Any]:
    """Return the user attributes that keep how a trial ended, its value apart."""
    cost = end.result.cost if isinstance(end, Finished) else end.cost
    attributes: dict[str, Any] = {_COST: asdict(cost)}
    if isinstance(end, Finished):
        result = end.result
        kept = {_METRICS: dict(result.metrics), TUNED: dict(result.tuned), _CHECKPOINT: result.checkpoint}
        return attributes | {key: value for key, value in kept.items() if value}
    attributes[REASON] = end.reason
    if isinstance(end, Pruned) and end.tuned:
        attributes[TUNED] = dict(end.tuned)
    if isinstance(end, Failed) and end.interrupted:
        attributes[INTERRUPTED] = True
    return attributes


def result_of(trial: FrozenTrial) -> TrialResult:
    """Return the result of a complete trial."""
    attributes = trial.user_attrs
    assert trial.value is not None
    return TrialResult(
        value=trial.value,
        metrics=attributes.get(_METRICS, {}),
        tuned=attributes.get(TUNED, {}),
        cost=Cost(**attributes.get(_COST, {})),
        checkpoint=attributes.get(_CHECKPOINT),
    )


def trial_records(trials: Iterable[FrozenTrial]) -> list[TrialRecord]:
    """Return the trials as plain records."""
    return [_record(trial) for trial in trials]


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes: Mapping[str, Any] = trial.user_attrs
    complete = trial.state is TrialState.COMPLETE
    return TrialRecord(
        number=trial.number,
        state="interrupted" if attributes.get(INTERRUPTED) else _STATES[trial.state],
        params=dict(trial.params),
        value=trial.value if complete else None,
        metrics=attributes.get(_METRICS, {}),
        tuned=attributes.get(TUNED, {}),
        cost=Cost(**attributes.get(_COST, {})),
        seed=attributes.get(SEED),
        retry_of=attributes.get(RETRY_OF),
        reason=attributes.get(REASON, ""),
        checkpoint=attributes.get(_CHECKPOINT),
        time_start=trial.datetime_start.timestamp() if trial.datetime_start else None,
        time_end=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )
