"""The run of the study itself: its tags, note, summary metrics and attachments."""

from __future__ import annotations

import contextlib
import getpass
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from hypertune._secrets import redact_mapping
from hypertune._yaml import dump_yaml, read_yaml
from hypertune.records import EXAMPLES, STANDARD_ERROR, StudyClosed, StudyInfo
from hypertune.tracking._best_model import log_best_model
from hypertune.tracking._datasets import log_datasets
from hypertune.tracking._names import key, param_text, tag_text, timestamp
from hypertune.tracking._note import closed_note, running_note
from hypertune.tracking._register import register_model
from hypertune.tracking._store import one_line, used_store
from hypertune.tracking._summary import summary_metrics
from hypertune.tracking.contract import Attachments

__all__ = ["NOTE", "StudyRun", "source_tags", "study_tags", "tag_key"]

NOTE = "mlflow.note.content"
_STATES = ("complete", "pruned", "failed", "interrupted")
_BEST_PARAM = "hypertune.best."
# What does not change when a study is resumed: MLflow's params are written once.
_PARAMS = ("family", "task", "objective", "sampler", "pruner", "seed")
# Tags that the next end of the study sets anew, or leaves out.
_STALE = ("hypertune.best", "hypertune.model_error", "hypertune.registered", "hypertune.register_error")


class StudyRun:
    """Writes to the study's run; every method may be called again with the same arguments.

    Args:
        client: MLflow client.
        uri: MLflow tracking URI.
        experiment_id: MLflow's id of the experiment.
        run_id: MLflow's id of the run.
        attachments: What the run gets beside numbers.
        progress: Called with a word about every longer piece of work before it begins.
    """

    def __init__(
        self,
        client: MlflowClient,
        uri: str,
        experiment_id: str,
        run_id: str,
        attachments: Attachments,
        progress: Callable[[str], None],
    ) -> None:
        self._client, self._uri, self._experiment_id, self.run_id = client, uri, experiment_id, run_id
        self._attachments, self._progress = attachments, progress

    def open(self, info: StudyInfo) -> None:
        """Say that the study goes on."""
        if self._client.get_run(self.run_id).info.status != "RUNNING":
            self._client.update_run(self.run_id, status="RUNNING")
        known = {**info.tags, "metric": info.metric, "direction": info.direction}
        names = [name for name in (*_PARAMS, "metric", "direction") if name in known]
        self._client.log_batch(
            self.run_id,
            params=[Param(name, param_text(known[name])) for name in names],
            tags=[RunTag(*tag) for tag in {**study_tags(info), NOTE: tag_text(running_note(info))}.items()],
        )
        for name, keyed in (("config.yaml", True), ("space.yaml", False)):
            file = Path(info.folder) / name
            if file.exists():
                with self._guarded("artifact_error"):
                    content, _ = read_yaml(file, where=name)
                    text = dump_yaml(redact_mapping(content, names=keyed))
                    self._client.log_text(self.run_id, text, name)

    def close(
        self, event: StudyClosed, info: StudyInfo, *, states: Sequence[str], best: Run | None, attach: bool
    ) -> None:
        """Write the study's summary and end its run; then attach what takes longer.

        Args:
            event: The study's end.
            info: The study.
            states: State of each trial.
            best: The winner's run.
            attach: Whether this is the end for good, as far as is known.
        """
        moment = timestamp(event.time)
        result = redact_mapping(event.result, names=False)
        numbers = {f"trials/{state}": float(states.count(state)) for state in _STATES} | summary_metrics(result)
        tags: dict[str, str] = {}
        link = ""
        if best is not None:
            data = best.data.metrics
            numbers |= {f"best/{name}": value for name, value in data.items() if _is_test_metric(name)}
            # The end of tuning, which is the last point of its series only when the last epoch was reported.
            ends = {name: data.get(f"final/{name}", value) for name, value in data.items() if name.startswith("hp/")}
            numbers |= {f"best/{name}": value for name, value in ends.items()}
            link = f"#/experiments/{self._experiment_id}/runs/{best.info.run_id}"
            tags = {"hypertune.best_trial": str(event.best), "hypertune.best_run": best.info.run_id}
            tags |= {key(_BEST_PARAM + name): value for name, value in best.data.params.items()}
        with self._guarded("artifact_error"):
            self._client.log_text(self.run_id, json.dumps(result, indent=2, default=str), "result.json")
        note = closed_note(info, result, finished=event.finished, best_run=link)
        self.tag({**tags, NOTE: tag_text(note)}, stale=_STALE)
        metrics = [Metric(key(name), value, moment, 0) for name, value in numbers.items()]
        self._client.log_batch(self.run_id, metrics=metrics)
        self._client.set_terminated(self.run_id, "FINISHED" if event.finished else "KILLED", moment)
        if attach:
            self._attach(info, event, best, moment, note)

    def tag(self, tags: Mapping[str, str], stale: tuple[str, ...] = ()) -> None:
        """Set tags, and delete those that begin like ``stale`` and are not among them."""
        if stale:
            for name in self._client.get_run(self.run_id).data.tags:
                if name.startswith(stale) and name not in tags:
                    self._client.delete_tag(self.run_id, name)
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def name_keys(self, names: Mapping[str, str]) -> None:
        """Keep which names stand behind keys that had to be changed."""
        self.tag({f"hypertune.name.{mapped}": tag_text(name) for mapped, name in names.items()})

    def _attach(self, info: StudyInfo, event: StudyClosed, best: Run | None, moment: int, note: str) -> None:
        attachments = self._attachments
        if event.best is not None and best is not None and attachments.load_model is not None:
            self._progress("logging the best model")
            model_id = None
            with self._guarded("model_error"):
                model_id = log_best_model(
                    self._client,
                    uri=self._uri,
                    experiment_id=self._experiment_id,
                    run_id=self.run_id,
                    trial=event.best,
                    params=best.data.params,
                    load_model=attachments.load_model,
                    code_paths=attachments.code_paths,
                )
            if model_id is not None:
                self._describe_model(model_id, info, event, best, moment, note)
        if attachments.describe_data is not None:
            self._progress("describing the data")
            with self._guarded("data_error"):
                log_datasets(self._client, self.run_id, attachments.describe_data())
        if attachments.write_report is not None:
            self._progress("writing the report")
            with self._guarded("report_error"):
                folder = attachments.write_report()
                if folder is not None:
                    self._client.log_artifacts(self.run_id, str(folder), "report")

    def _describe_model(
        self, model_id: str, info: StudyInfo, event: StudyClosed, best: Run, moment: int, note: str
    ) -> None:
        """Give the logged model its numbers, and its place in the registry."""
        self.tag({"hypertune.best_model": f"models:/{model_id}"})
        data = best.data
        metrics = [
            Metric(key(f"best/{name}"), value, moment, 0, model_id=model_id)
            for name, value in data.metrics.items()
            if _is_test_metric(name)
        ]
        # The very point that the run has, so that the model gets it too and the run does not get it twice.
        metrics += [
            Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
            for point in self._client.get_metric_history(self.run_id, "best/value")
            if point.value == data.metrics.get("value")
        ]
        self._client.log_batch(self.run_id, metrics=metrics)
        name, value = self._attachments.register, data.metrics.get("value")
        if name is None or value is None:
            return
        self._progress("registering the best model")
        tags = {tag_key(tag): tag_text(info.tags[tag]) for tag in ("family", "task", "study_id") if tag in info.tags}
        tags |= {"hypertune.study": tag_text(info.name), "hypertune.trial": str(event.best)}
        tags |= {"hypertune.metric": tag_text(info.metric), "hypertune.direction": info.direction}
        with self._guarded("register_error"), used_store(self._uri):  # the registry asks the store for the model
            version = register_model(
                self._client, name, model_id=model_id, run_id=self.run_id, value=value, tags=tags, note=tag_text(note)
            )
            self.tag({"hypertune.registered": f"models:/{name}/{version}"})

    @contextlib.contextmanager
    def _guarded(self, tag: str) -> Iterator[None]:
        """Let nothing but a tag come of an extra that cannot be had: the search and its numbers are worth more."""
        try:
            yield
        except Exception as error:
            text = f"{type(error).__name__}: {one_line(error)}"
            self._client.set_tag(self.run_id, f"hypertune.{tag}", tag_text(text))


def _is_test_metric(name: str) -> bool:
    return name.startswith("test/") and not name.endswith((STANDARD_ERROR, f"/{EXAMPLES}"))


def study_tags(info: StudyInfo) -> dict[str, str]:
    """Return the tags of a study's run."""
    tags: dict[str, Any] = {
        "hypertune.kind": "study",
        "hypertune.study_id": f"{info.name} in {Path(info.folder).absolute()}",
        "hypertune.study": info.name,
        "hypertune.direction": info.direction,
        "hypertune.metric": info.metric,
        "hypertune.folder": str(Path(info.folder).absolute()),
        **({} if info.n_trials is None else {"hypertune.n_trials": str(info.n_trials)}),
        **source_tags(info),
        **{tag_key(name): text for name, text in info.tags.items()},
    }
    tags["hypertune.study_id"] = key(tags["hypertune.study_id"])  # it stands in a filter, which knows no escapes
    return {name: tag_text(text) for name, text in tags.items()}


def source_tags(info: StudyInfo) -> dict[str, str]:
    """Return the tags from which MLflow's own table fills its columns user, source and version."""
    tags = {"mlflow.source.name": "hypertune", "mlflow.source.type": "LOCAL"}
    with contextlib.suppress(Exception):  # a container's user may have no name
        tags["mlflow.user"] = tag_text(getpass.getuser())
    if info.tags.get("git_commit"):
        tags["mlflow.source.git.commit"] = tag_text(info.tags["git_commit"])
    return tags


def tag_key(name: str) -> str:
    """Return the key of a study's tag."""
    return key(name if name.startswith(("hypertune.", "mlflow.")) else f"hypertune.{name}")
