"""Coalesces the events of one trial that are published together into params, metrics, tags and an end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow.entities import Metric, Param, RunTag

from hypertune.records import Cost, Failed, Finished, Pruned, Reported, Started
from hypertune.tracking._names import key, param_text, tag_text, timestamp

__all__ = ["REPORTED", "TrialBatch", "TrialEvent"]

REPORTED = -1

TrialEvent = Started | Reported | Finished | Pruned | Failed


@dataclass(slots=True)
class TrialBatch:
    """Part of one trial, or all of it.

    Attributes:
        number: Trial number.
        start: Unix milliseconds when the trial started, when the batch holds its start.
        end: Unix milliseconds when it ended, when the batch holds its end.
        status: MLflow's run status at the end.
        series: Metrics that the store or an earlier event has: `REPORTED` when it certainly is a series of reports,
            else the timestamp of its only known point, which may be a final value.
        traceback: Text of the traceback of a failed trial.
        names: The names behind the keys that are not names themselves.
    """

    number: int
    series: dict[str, int] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    start: int | None = None
    first: int = 0
    end: int | None = None
    status: str = "RUNNING"
    traceback: str = ""
    names: dict[str, str] = field(default_factory=dict)

    def add(self, event: TrialEvent) -> None:
        """Add the trial's next event; what comes behind its end is ignored."""
        if self.end is not None:
            return
        moment = timestamp(event.time)
        self.first = self.first or moment
        if isinstance(event, Started):
            self._started(event, moment)
        elif isinstance(event, Reported):
            for name, value in _named(event.report.metrics, event.report.tuned).items():
                series = self._key(name)
                self.metrics.append(Metric(series, value, moment, event.report.step))
                self.series[series] = REPORTED
        elif isinstance(event, Finished):
            result = event.result
            self._final({"value": result.value, **_named(result.metrics, result.tuned)}, moment)
            self._ended("complete", "FINISHED", moment, result.cost)
        elif isinstance(event, Pruned):
            self.tags["hypertune.reason"] = tag_text(event.reason)
            self._ended("pruned", "KILLED", moment, event.cost)
        else:
            self.tags["hypertune.reason"] = tag_text(event.reason)
            self.traceback = event.traceback
            state, status = ("interrupted", "KILLED") if event.interrupted else ("failed", "FAILED")
            self._ended(state, status, moment, event.cost)

    def param_entities(self) -> list[Param]:
        """Return the params as MLflow's objects."""
        return [Param(name, value) for name, value in self.params.items()]

    def tag_entities(self) -> list[RunTag]:
        """Return the tags as MLflow's objects."""
        return [RunTag(name, value) for name, value in self.tags.items()]

    def _started(self, event: Started, moment: int) -> None:
        self.start = moment
        self.params.update({self._key(name): param_text(value) for name, value in event.params.items()})
        self.tags["hypertune.state"] = "running"
        self.tags["hypertune.seed"] = str(event.seed)
        if event.worker:
            self.tags["hypertune.worker"] = tag_text(event.worker)
        if event.retry_of is not None:
            self.tags["hypertune.retry_of"] = str(event.retry_of)

    def _final(self, metrics: Mapping[str, float], moment: int) -> None:
        # A final metric that also is a series keeps the series as it was reported: it gets a key of its own. A key
        # whose only known point has this very moment was written by an earlier, uncertain attempt to publish this end.
        for name, value in metrics.items():
            series = self._key(name)
            is_series = self.series.get(series, moment) != moment
            self.metrics.append(Metric(self._key(f"final/{name}") if is_series else series, value, moment, 0))

    def _key(self, name: str) -> str:
        mapped = key(name)
        if mapped != name:
            self.names[mapped] = name
        return mapped

    def _ended(self, state: str, status: str, moment: int, cost: Cost) -> None:
        costs = {"epochs": cost.epochs, "gradient_steps": cost.gradient_steps, "seconds": cost.seconds}
        self.metrics += [Metric(f"cost/{name}", float(value), moment, 0) for name, value in costs.items()]
        self.tags["hypertune.state"] = state
        self.end, self.status = moment, status


def _named(metrics: Mapping[str, float], tuned: Mapping[str, float]) -> dict[str, float]:
    named = {name: float(value) for name, value in metrics.items()}
    return named | {f"hp/{name}": float(value) for name, value in tuned.items()}
