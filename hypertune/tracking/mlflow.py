"""``mlflow``: writes a study's events to an MLflow tracking store.

A study is a parent run, each trial a nested run. Writing the same events again changes nothing: runs are found again by
their tags, params and tags are overwritten with the same values, and a metric point with the same key, step, timestamp
and value exists once in MLflow's SQL stores and in the servers that stand in front of them. A store that keeps points
without looking at them, as managed services may, can show a point twice after a crash in the middle of a batch.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, Run, RunTag

from hypertune.records import Event, Finished, StudyClosed, StudyInfo, StudyOpened
from hypertune.tracking._best_model import log_best_model
from hypertune.tracking._names import key, tag_text, timestamp
from hypertune.tracking._store import one_line, open_store
from hypertune.tracking._trial_batch import REPORTED, TrialBatch
from hypertune.tracking.contract import LoadModel

__all__ = ["MlflowWriter"]

_PAGE = 1000
_CHILD_TAGS = ("sampler", "family", "task", "git_commit", "config_hash")
_STATES = ("complete", "pruned", "failed", "interrupted")
_BEST_PARAM = "hypertune.best."


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
        load_model: Gives the best trial's model when the study is closed; None to log no model.
        code_paths: Files and folders that are logged with the model and put on the import path when it is loaded.

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
        load_model: LoadModel | None = None,
        code_paths: Sequence[str] = (),
    ) -> None:
        self._uri = uri
        self._info = info
        self._load_model = load_model
        self._code_paths = tuple(code_paths)
        folder = Path(info.folder)
        self._client, self.experiment_id = open_store(uri, experiment, artifacts=folder.absolute().parent / "artifacts")
        parent = self._find_parent()
        if parent is None:
            parent = self._client.create_run(
                self.experiment_id,
                start_time=timestamp(time.time() if opened is None else opened),
                tags=_parent_tags(info),
                run_name=info.name,
            )
        self.parent_run_id: str = parent.info.run_id
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
                    self._close(event, with_model=not resumed)
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

    def _flush(self, batches: Mapping[int, TrialBatch], improvements: Sequence[Metric]) -> None:
        for batch in batches.values():
            self._write(batch)
        if improvements:
            self._client.log_batch(self.parent_run_id, metrics=improvements)

    def _write(self, batch: TrialBatch) -> None:
        client, child = self._client, self._children.get(batch.number)
        tags: Sequence[RunTag] = batch.tag_entities()
        if child is None:
            run = client.create_run(
                self.experiment_id,
                start_time=batch.first if batch.start is None else batch.start,
                tags=self._child_tags(batch.number) | batch.tags,
                run_name=f"trial {batch.number}",
            )
            tags = ()
            child = self._children[batch.number] = _Child(run.info.run_id, series=batch.series)
        client.log_batch(child.run_id, metrics=batch.metrics, params=batch.param_entities(), tags=tags)
        if batch.end is not None:
            if batch.traceback:
                try:
                    client.log_text(child.run_id, batch.traceback, "traceback.txt")
                except Exception:  # a store without room for artifacts still takes tags
                    client.set_tag(child.run_id, "hypertune.traceback", tag_text(batch.traceback[-4000:]))
            client.set_terminated(child.run_id, batch.status, batch.end)
            child.ended = True

    def _open(self, event: StudyOpened) -> None:
        self._info = event.info
        if self._client.get_run(self.parent_run_id).info.status != "RUNNING":
            self._client.update_run(self.parent_run_id, status="RUNNING")
        self._tag_parent(_parent_tags(event.info))
        for name in ("config.yaml", "space.yaml"):
            file = Path(event.info.folder) / name
            if file.exists():
                with self._artifact():
                    self._client.log_artifact(self.parent_run_id, str(file))

    def _close(self, event: StudyClosed, *, with_model: bool) -> None:
        moment = timestamp(event.time)
        states = self._end_children(moment)
        metrics = [Metric(f"trials/{state}", float(states.count(state)), moment, 0) for state in _STATES]
        tags: dict[str, str] = {}
        best = None if event.best is None else self._children.get(event.best)
        if event.best is not None and best is not None:
            data = self._client.get_run(best.run_id).data
            tags = {"hypertune.best_trial": str(event.best), "hypertune.best_run": best.run_id}
            tags |= {key(_BEST_PARAM + name): value for name, value in data.params.items()}
            model_id, model_tags = self._model(event.best, data.params) if with_model else (None, {})
            tags |= model_tags
            for name, value in data.metrics.items():
                if name.startswith("test/"):
                    metrics.append(Metric(key(f"best/{name}"), value, moment, 0, model_id=model_id))
            if model_id is not None:
                # The very point that the run has, so that the model gets it too and the run does not get it twice.
                metrics += [
                    Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
                    for point in self._client.get_metric_history(self.parent_run_id, "best/value")
                    if point.value == data.metrics.get("value")
                ]
        with self._artifact():
            text = json.dumps(dict(event.result), indent=2, default=str)
            self._client.log_text(self.parent_run_id, text, "result.json")
        self._tag_parent(tags, stale=("hypertune.best", "hypertune.model_error"))
        self._client.log_batch(self.parent_run_id, metrics=metrics)
        status = "FINISHED" if event.finished else "KILLED"
        self._client.set_terminated(self.parent_run_id, status, moment)

    def _end_children(self, moment: int) -> list[str]:
        """Return the states of all trials up to a moment, after ending those whose end nobody saw."""
        states = []
        for run in self._read_children():
            # Replayed from the beginning, a study that was resumed since has trials that began later: leave them.
            if run.info.start_time > moment:
                continue
            child = self._children[int(run.data.tags["hypertune.trial"])]
            state = run.data.tags.get("hypertune.state", "running")
            if not child.ended:
                state = "interrupted"
                self._client.set_tag(child.run_id, "hypertune.state", state)
                self._client.set_terminated(child.run_id, "KILLED", moment)
                child.ended = True
            states.append(state)
        return states

    def _model(self, trial: int, params: Mapping[str, str]) -> tuple[str | None, dict[str, str]]:
        """Log the best model; return its id and the tags that tell what came of it."""
        if self._load_model is None:
            return None, {}
        try:
            model_id = log_best_model(
                self._client,
                uri=self._uri,
                experiment_id=self.experiment_id,
                run_id=self.parent_run_id,
                trial=trial,
                params=params,
                load_model=self._load_model,
                code_paths=self._code_paths,
            )
        except Exception as error:  # the search and its numbers are worth more than the model
            return None, {"hypertune.model_error": tag_text(f"{type(error).__name__}: {one_line(error)}")}
        return model_id, {} if model_id is None else {"hypertune.best_model": f"models:/{model_id}"}

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
        study_id = _parent_tags(self._info)["hypertune.study_id"]
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
        tags = {_tag_key(name): tag_text(info.tags[name]) for name in _CHILD_TAGS if name in info.tags}
        return tags | {
            "mlflow.parentRunId": self.parent_run_id,
            "hypertune.trial": str(number),
            "hypertune.study": tag_text(info.name),
            **_source_tags(info),
        }

    def _tag_parent(self, tags: Mapping[str, str], stale: tuple[str, ...] = ()) -> None:
        """Set tags, and delete those that begin like ``stale`` and are not among them."""
        if stale:
            for name in self._client.get_run(self.parent_run_id).data.tags:
                if name.startswith(stale) and name not in tags:
                    self._client.delete_tag(self.parent_run_id, name)
        self._client.log_batch(self.parent_run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    @contextlib.contextmanager
    def _artifact(self) -> Iterator[None]:
        """Let nothing but a tag come of an artifact that cannot be stored."""
        try:
            yield
        except Exception as error:
            self._client.set_tag(self.parent_run_id, "hypertune.artifact_error", tag_text(one_line(error)))


def _parent_tags(info: StudyInfo) -> dict[str, str]:
    tags = {
        "hypertune.study_id": f"{info.name} in {Path(info.folder).absolute()}",
        "hypertune.study": info.name,
        "hypertune.direction": info.direction,
        "hypertune.metric": info.metric,
        "hypertune.folder": str(Path(info.folder).absolute()),
        **({} if info.n_trials is None else {"hypertune.n_trials": str(info.n_trials)}),
        **_source_tags(info),
        **{_tag_key(name): text for name, text in info.tags.items()},
    }
    tags["hypertune.study_id"] = key(tags["hypertune.study_id"])  # it stands in a filter, which knows no escapes
    return {name: tag_text(text) for name, text in tags.items()}


def _source_tags(info: StudyInfo) -> dict[str, str]:
    """Return the tags from which MLflow's own table fills its columns user, source and version."""
    tags = {"mlflow.source.name": "hypertune", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(Exception):  # a container's user may have no name
        tags["mlflow.user"] = tag_text(getpass.getuser())
    if info.tags.get("git_commit"):
        tags["mlflow.source.git.commit"] = tag_text(info.tags["git_commit"])
    return tags


def _tag_key(name: str) -> str:
    return key(name if name.startswith(("hypertune.", "mlflow.")) else f"hypertune.{name}")


def _series(run: Run) -> dict[str, int]:
    latest = run.data.to_proto().metrics
    return {metric.key: REPORTED if metric.step > 0 else int(metric.timestamp) for metric in latest}


def _fullness(run: Run) -> tuple[bool, int, int, str]:
    data = run.data
    ended = run.info.status != "RUNNING"
    return ended, len(data.metrics) + len(data.params), -run.info.start_time, str(run.info.run_id)
