"""``mlflow``: writes a study's events to an MLflow tracking store.

A study is a parent run, each trial a nested run. Writing the same events again changes nothing: runs are found again by
their tags, params and tags are overwritten with the same values, and a metric point with the same key, step, timestamp
and value exists once in MLflow's SQL stores and in the servers that stand in front of them. A store that keeps points
without looking at them, as managed services may, can show a point twice after a crash in the middle of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, Run, RunTag

from hypertune._secrets import redact
from hypertune.records import Event, Finished, StudyClosed, StudyInfo, StudyOpened
from hypertune.tracking._names import tag_text, timestamp
from hypertune.tracking._store import open_store
from hypertune.tracking._study_run import StudyRun, source_tags, study_tags, tag_key
from hypertune.tracking._trial_batch import REPORTED, TrialBatch
from hypertune.tracking.contract import Attachments

__all__ = ["MlflowWriter"]

_PAGE = 1000
_CHILD_TAGS = ("sampler", "family", "task", "git_commit", "config_hash")
_NAME = "hypertune.name."
_WINNER = "hypertune.winner"


@dataclass(slots=True)
class _Child:
    """A trial's run; ``series`` is as in `TrialBatch`."""

    run_id: str
    ended: bool = False
    series: dict[str, int] = field(default_factory=dict)


class MlflowWriter:
    """Applies events to a tracking store, in order, any number of times with the same outcome.

    After `apply` raised it is uncertain what the store has: make a new writer, which looks, and apply the same events
    again.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        info: The study; ``info.tags["study_id"]`` tells it from others.
        opened: Unix seconds when the study was first opened; now by default.
        attachments: What the study's run gets beside its numbers.
        progress: Called with a word about every longer piece of work before it begins.

    Raises:
        TrackingError: The store cannot be used.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        info: StudyInfo,
        *,
        opened: float | None = None,
        attachments: Attachments | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._info = info
        folder = Path(info.folder)
        self._client, self.experiment_id = open_store(uri, experiment, artifacts=folder.absolute().parent / "artifacts")
        parent = self._find_parent()
        if parent is None:
            parent = self._client.create_run(
                self.experiment_id,
                start_time=timestamp(time.time() if opened is None else opened),
                tags=study_tags(info),
                run_name=tag_text(info.name),
            )
        self.parent_run_id: str = parent.info.run_id
        self.begun: float = parent.info.start_time / 1000
        self._study = StudyRun(
            self._client, uri, self.experiment_id, self.parent_run_id, attachments or Attachments(), progress
        )
        self._named = {name.removeprefix(_NAME) for name in parent.data.tags if name.startswith(_NAME)}
        self._best = self._read_best(parent)
        self._children: dict[int, _Child] = {}
        self._read_children()

    def apply(self, events: Sequence[Event]) -> None:
        """Write events to the store.

        The events of a trial are written together: a whole trial takes three calls.

        Raises:
            Exception: Whatever MLflow raises, when the store is down or refuses a value.
        """
        batches: dict[int, TrialBatch] = {}
        improvements: list[Metric] = []
        for position, event in enumerate(events):
            if isinstance(event, (StudyOpened, StudyClosed)):
                self._flush(batches, improvements)
                batches, improvements = {}, []
                if isinstance(event, StudyOpened):
                    self._open(event)
                else:
                    # A study that is known to go on has no final model yet.
                    resumed = any(isinstance(later, StudyOpened) for later in events[position + 1 :])
                    self._close(event, attach=not resumed)
                continue
            if isinstance(event, Finished):
                improvements += self._improvement(event)
            child = self._children.get(event.number)
            if child is not None and child.ended:
                continue
            if event.number not in batches:
                batches[event.number] = TrialBatch(event.number, series=child.series if child else {})
            batches[event.number].add(event)
        self._flush(batches, improvements)

    def check(self) -> None:
        """Make one harmless write.

        Raises:
            Exception: Whatever MLflow raises when the store is down.
        """
        self._client.set_tag(self.parent_run_id, "hypertune.checked", str(timestamp(time.time())))

    def note(self, text: str) -> None:
        """Leave a remark about the publishing itself at the study's run."""
        self._client.set_tag(self.parent_run_id, "hypertune.note", tag_text(text))

    def log(self, metrics: Sequence[Metric]) -> None:
        """Add points to the study's run that no event stands for."""
        if metrics:
            self._client.log_batch(self.parent_run_id, metrics=metrics)

    def _flush(self, batches: Mapping[int, TrialBatch], improvements: Sequence[Metric]) -> None:
        names = {mapped: name for batch in batches.values() for mapped, name in batch.names.items()}
        if not self._named.issuperset(names):
            self._study.name_keys(names)
            self._named.update(names)
        for batch in batches.values():
            self._write(batch)
        self.log(improvements)

    def _write(self, batch: TrialBatch) -> None:
        client, child = self._client, self._children.get(batch.number)
        tags: Sequence[RunTag] = batch.tag_entities()
        if child is None:
            run = client.create_run(
                self.experiment_id,
                start_time=batch.first if batch.start is None else batch.start,
                tags=self._child_tags(batch.number) | batch.tags,
                run_name=f"trial {batch.number:03d}",
            )
            tags = ()
            child = self._children[batch.number] = _Child(run.info.run_id, series=batch.series)
        client.log_batch(child.run_id, metrics=batch.metrics, params=batch.param_entities(), tags=tags)
        if batch.end is not None:
            if batch.traceback:
                try:
                    client.log_text(child.run_id, redact(batch.traceback), "traceback.txt")
                except Exception:  # a store without room for artifacts still takes tags
                    client.set_tag(child.run_id, "hypertune.traceback", tag_text(batch.traceback[-4000:]))
            client.set_terminated(child.run_id, batch.status, batch.end)
            child.ended = True

    def _open(self, event: StudyOpened) -> None:
        self._info = event.info
        self._study.open(event.info)

    def _close(self, event: StudyClosed, *, attach: bool) -> None:
        states = self._end_children(timestamp(event.time), event.best)
        child = None if event.best is None else self._children.get(event.best)
        best = None if child is None else self._client.get_run(child.run_id)
        self._study.close(event, self._info, states=states, best=best, attach=attach)

    def _end_children(self, moment: int, winner: int | None) -> list[str]:
        """Return the states of all trials up to a moment, after ending those whose end nobody saw; crown the winner."""
        states = []
        for run in self._read_children():
            # Replayed from the beginning, a study that was resumed since has trials that began later: leave them.
            if run.info.start_time > moment:
                continue
            number = int(run.data.tags["hypertune.trial"])
            child = self._children[number]
            if number == winner:
                self._client.set_tag(child.run_id, _WINNER, "true")
            elif _WINNER in run.data.tags:
                self._client.delete_tag(child.run_id, _WINNER)
            state = run.data.tags.get("hypertune.state", "running")
            if not child.ended:
                state = "interrupted"
                self._client.set_tag(child.run_id, "hypertune.state", state)
                self._client.set_terminated(child.run_id, "KILLED", moment)
                child.ended = True
            states.append(state)
        return states

    def _improvement(self, event: Finished) -> list[Metric]:
        """Return the parent's next point of ``best/value`` when the trial is the best so far."""
        value, step = event.result.value, max(self._best[1], event.number)
        sign = 1.0 if self._info.direction == "minimize" else -1.0
        if not math.isfinite(value) or sign * value >= sign * self._best[0]:
            return []
        self._best = (value, step)
        return [Metric("best/value", value, timestamp(event.time), step)]

    def _read_best(self, parent: Run) -> tuple[float, int]:
        sign = 1.0 if self._info.direction == "minimize" else -1.0
        if "best/value" not in parent.data.metrics:
            return sign * math.inf, 0
        history = self._client.get_metric_history(self.parent_run_id, "best/value")
        return sign * min(sign * point.value for point in history), max(point.step for point in history)

    def _find_parent(self) -> Run | None:
        study_id = study_tags(self._info)["hypertune.study_id"]
        found = self._client.search_runs(
            [self.experiment_id],
            f"tags.`hypertune.study_id` = '{study_id}'",
            order_by=["attributes.start_time ASC"],
        )
        return next(iter(found), None)

    def _read_children(self) -> list[Run]:
        """Learn which trials have a run; of two runs of one trial, which only a lost answer leaves, delete one."""
        runs: dict[int, Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id],
                f"tags.`mlflow.parentRunId` = '{self.parent_run_id}'",
                max_results=_PAGE,
                page_token=token,
            )
            for run in page:
                number = run.data.tags.get("hypertune.trial", "")
                if number.isdecimal():
                    self._keep_fuller(runs, int(number), run)
            token = page.token
            if not token:
                break
        for trial, run in runs.items():
            ended = run.info.status != "RUNNING"
            self._children[trial] = _Child(run.info.run_id, ended, {} if ended else _series(run))
        return list(runs.values())

    def _keep_fuller(self, runs: dict[int, Run], number: int, run: Run) -> None:
        other = runs.setdefault(number, run)
        if other is not run:
            runs[number], lost = sorted((other, run), key=_fullness, reverse=True)
            self._client.delete_run(lost.info.run_id)

    def _child_tags(self, number: int) -> dict[str, str]:
        info = self._info
        tags = {tag_key(name): tag_text(info.tags[name]) for name in _CHILD_TAGS if name in info.tags}
        return tags | {
            "hypertune.kind": "trial",
            "mlflow.parentRunId": self.parent_run_id,
            "hypertune.trial": str(number),
            "hypertune.study": tag_text(info.name),
            **source_tags(info),
        }


def _series(run: Run) -> dict[str, int]:
    latest = run.data.to_proto().metrics
    return {metric.key: REPORTED if metric.step > 0 else int(metric.timestamp) for metric in latest}


def _fullness(run: Run) -> tuple[bool, int, int, str]:
    data = run.data
    ended = run.info.status != "RUNNING"
    return ended, len(data.metrics) + len(data.params), -run.info.start_time, str(run.info.run_id)
