"""One study as the report sees it, read from its run folder alone; a running or a broken one too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from hypertune._secrets import redact, redact_mapping, remember, secrets_in
from hypertune._yaml import read_yaml
from hypertune.driver.study_store import open_storage, storage_errors
from hypertune.errors import HypertuneError
from hypertune.records import (
    HYPERNETWORK,
    PREDICTED,
    Cost,
    Event,
    Failed,
    Finished,
    Pruned,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialRecord,
)
from hypertune.reporting._frames import reports_frame, trials_frame
from hypertune.reporting.result import StudyResult
from hypertune.run_folder import RunFolder
from hypertune.space import SearchSpace
from hypertune.tracking.journal import Journal

__all__ = ["Study", "read_study"]

_OF_TRIALS = {"trials", "best", "counts"}  # entries of result.json that the journal has too

State = Literal["finished", "stopped", "open"]


@dataclass(frozen=True)
class Study:
    """A study and what is known of it.

    Attributes:
        result: Trials, the best of them, metric and direction.
        state: ``finished``; ``stopped`` (resumable); ``open``: it runs, or its driver was killed.
        n_trials: Trials wanted; None when there is no such end.
        space: The search space; None when it cannot be read.
        reports: Intermediate reports, see `reports_frame`, with a column ``clock``: seconds of work since the first
            start, in which the time between two sessions does not count.
        ends: Clock at which each trial ended, by number; running trials are absent.
        starts: Clock at which each trial started.
        workers: Name of the worker of each trial, where known.
        findings: Entries of result.json beyond trials: ``certificate``, ``selection``, ``survivors``, ...
        predicted: Predicted value by trial number, where a model predicted one.
        hypernetwork: What the predicting model cost and covers; empty when there is none.
        notes: What could not be read, in words.
    """

    result: StudyResult
    state: State
    n_trials: int | None = None
    space: SearchSpace | None = None
    reports: pd.DataFrame = field(default_factory=lambda: reports_frame([]))
    ends: Mapping[int, float] = field(default_factory=dict)
    starts: Mapping[int, float] = field(default_factory=dict)
    workers: Mapping[int, str] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)
    predicted: Mapping[int, float] = field(default_factory=dict)
    hypernetwork: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.result.name

    @cached_property
    def winner(self) -> int | None:
        """Number of the best trial."""
        return None if self.result.best is None else self.result.best.number

    @property
    def many_tasks(self) -> bool:
        """Whether a step of a trial is a task, and not an epoch."""
        return "metrics.tasks/failed" in self.reports.columns

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The trials, see `trials_frame`."""
        return trials_frame(self.result.trials)

    @cached_property
    def measured(self) -> Sequence[TrialRecord]:
        """Complete trials with a finite value, by number."""
        return [
            trial
            for trial in self.result.trials
            if trial.state == "complete" and trial.value is not None and math.isfinite(trial.value)
        ]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Hyperparameters in the order of the space, then others that trials have."""
        known = () if self.space is None else self.space.names
        return tuple(dict.fromkeys([*known, *(name for trial in self.result.trials for name in trial.params)]))

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one < other if self.result.direction == "minimize" else one > other

    def ranked(self) -> Sequence[TrialRecord]:
        """Return the measured trials from the best to the worst."""
        sign = 1.0 if self.result.direction == "minimize" else -1.0
        return sorted(self.measured, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def read_study(run: RunFolder | Path | str) -> Study:
    """Read a study from its run folder.

    The journal of events is the source of trials and reports: it is written before everything else, and travels with
    the folder. The Optuna storage adds what only samplers know; a report can do without it.

    Raises:
        HypertuneError: It is no run folder, or its journal is damaged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run).resolve())
    identity = folder.read_json(folder.identity)
    events, _ = Journal(folder.journal).read()
    opened = [event for event in events if isinstance(event, StudyOpened)]
    info = opened[-1].info if opened else _info(folder, identity)
    notes: list[str] = []
    _remember_credentials(folder)
    space = _space(folder, notes)
    content = _result(folder, events)
    attributes, hypernetwork = _storage(identity, notes)
    clock = _clock(events)
    trials = _records(events)
    reports = reports_frame(event for event in events if isinstance(event, Reported))
    by_time = {event.time: moment for event, moment in zip(events, clock, strict=True)}
    reports["clock"] = [by_time[moment] for moment in reports["time"]]
    result = StudyResult(
        name=info.name,
        folder=folder.path,
        direction=info.direction,
        metric=info.metric,
        finished=bool(content.get("finished")),
        trials=trials,
        versions=content.get("versions", {}),
        tags=info.tags,
    )
    return Study(
        result=result,
        state="open" if not content else "finished" if result.finished else "stopped",
        n_trials=info.n_trials,
        space=space,
        reports=reports,
        ends={e.number: t for e, t in zip(events, clock, strict=True) if isinstance(e, Finished | Pruned | Failed)},
        starts={e.number: t for e, t in zip(events, clock, strict=True) if isinstance(e, Started)},
        workers={e.number: e.worker for e in events if isinstance(e, Started) and e.worker},
        findings=redact_mapping({key: value for key, value in content.items() if key not in _OF_TRIALS}, names=False),
        predicted=attributes,
        hypernetwork=hypernetwork,
        notes=tuple(map(redact, notes)),
    )


def _remember_credentials(folder: RunFolder) -> None:
    """Reasons of failures may repeat what the config holds, so that it has to be known to be masked."""
    try:
        content, _ = read_yaml(folder.config, where="RUN")
    except HypertuneError:
        return
    remember(secrets_in(content))


def _records(events: Sequence[Event]) -> list[TrialRecord]:
    started: dict[int, Started] = {}
    ends: dict[int, Finished | Pruned | Failed] = {}
    reported: dict[int, int] = {}
    for event in events:
        if isinstance(event, Started):
            started[event.number] = event
        elif isinstance(event, Finished | Pruned | Failed):
            ends[event.number] = event
        elif isinstance(event, Reported):
            reported[event.number] = reported.get(event.number, 0) + 1
    return [_record(start, ends.get(number), reported.get(number, 0)) for number, start in sorted(started.items())]


def _record(start: Started, end: Finished | Pruned | Failed | None, reports: int) -> TrialRecord:
    common: dict[str, Any] = {
        "seed": start.seed,
        "retry_of": start.retry_of,
        "time_start": start.time,
        "time_end": None if end is None else end.time,
    }
    if end is None:
        return TrialRecord(start.number, "running", start.params, cost=Cost(epochs=reports), **common)
    if isinstance(end, Finished):
        result = end.result
        if math.isnan(result.value):
            return TrialRecord(start.number, "failed", start.params, reason="the value is NaN", **common)
        return TrialRecord(
            start.number,
            "complete",
            start.params,
            result.value,
            result.metrics,
            result.tuned,
            result.cost,
            checkpoint=result.checkpoint,
            **common,
        )
    if isinstance(end, Pruned):
        return TrialRecord(
            start.number, "pruned", start.params, tuned=end.tuned, cost=end.cost, reason=redact(end.reason), **common
        )
    state: Literal["interrupted", "failed"] = "interrupted" if end.interrupted else "failed"
    return TrialRecord(start.number, state, start.params, cost=end.cost, reason=redact(end.reason), **common)


def _clock(events: Sequence[Event]) -> list[float]:
    """Seconds of work up to each event: the time between two sessions does not count."""
    clock, idle, before = [], 0.0, events[0].time if events else 0.0
    begin = before
    for event in events:
        if isinstance(event, StudyOpened):
            idle += max(0.0, event.time - before)
        before = max(before, event.time)
        clock.append(max(0.0, event.time - begin - idle))
    return clock


def _result(folder: RunFolder, events: Sequence[Event]) -> dict[str, Any]:
    """The content of result.json, when it is of the last session."""
    sessions = [event for event in events if isinstance(event, StudyOpened | StudyClosed)]
    if sessions and isinstance(sessions[-1], StudyClosed):
        return dict(sessions[-1].result)
    try:
        written = folder.result.stat().st_mtime
        if not sessions or written >= sessions[-1].time:
            return folder.read_json(folder.result)
    except (OSError, HypertuneError):
        pass
    return {}


def _info(folder: RunFolder, identity: Mapping[str, Any]) -> StudyInfo:
    """What is known of a study that no driver has opened yet."""
    content, _ = read_yaml(folder.config, where="RUN")
    study = content.get("study", {}) if isinstance(content, Mapping) else {}
    return StudyInfo(
        name=str(identity.get("study", folder.path.name)),
        direction=study.get("direction", "minimize"),
        metric=str(study.get("metric", "value")),
        n_trials=study.get("n_trials"),
        folder=str(folder.path),
    )


def _space(folder: RunFolder, notes: list[str]) -> SearchSpace | None:
    try:
        content, _ = read_yaml(folder.space, where="space")
        return SearchSpace.from_mapping(content)
    except (HypertuneError, AttributeError) as error:
        notes.append(f"space.yaml cannot be read, so ranges are those of the trials: {error}")
        return None


def _storage(identity: Mapping[str, Any], notes: list[str]) -> tuple[dict[int, float], dict[str, Any]]:
    url = identity.get("storage")
    if not url:
        return {}, {}
    try:
        storage = open_storage(url, create=False)
        with storage_errors():
            study = storage.get_study_id_from_name(identity.get("study", ""))
            trials = storage.get_all_trials(study, deepcopy=False)
            hypernetwork = storage.get_study_user_attrs(study).get(HYPERNETWORK) or {}
    except HypertuneError as error:
        # Its URL may hold a password, so the message goes without it.
        notes.append(f"the Optuna storage cannot be read, so predictions are left out: {error.problem}")
        return {}, {}
    predicted = {}
    for trial in trials:
        value = trial.user_attrs.get(PREDICTED, trial.system_attrs.get(PREDICTED))
        if isinstance(value, int | float) and math.isfinite(value):
            predicted[trial.number] = float(value)
    return predicted, dict(hypernetwork)
