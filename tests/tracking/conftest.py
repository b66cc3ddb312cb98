"""MLflow for tests: imported once with its own warnings named, a database made once and copied, runs read back."""

from __future__ import annotations

import os
import re
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType")  # mlflow.types.responses
    import mlflow.pyfunc
    import mlflow.pytorch
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from hypertune.records import StudyInfo
from hypertune.tracking._store import open_store


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    open_store(f"sqlite:///{folder}/mlflow.db", "unused", artifacts=folder)
    return folder / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, _empty_database: Path) -> str:
    """URI of a SQLite store of this test's own; making its tables takes MLflow seconds, so they are copied."""
    path = tmp_path / "mlflow.db"
    source, target = sqlite3.connect(_empty_database), sqlite3.connect(path)
    source.backup(target)
    target.execute("PRAGMA journal_mode=WAL")
    source.close()
    target.close()
    return f"sqlite:///{path}"


@pytest.fixture
def info(tmp_path: Path) -> StudyInfo:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("study: {}\n")
    (folder / "space.yaml").write_text("lr: {}\n")
    tags = {"study_id": "id-1", "sampler": "tpe", "family": "mlp", "task": "digits", "git_commit": "abc", "user": "me"}
    return StudyInfo("a study", "minimize", "val/loss", 10, str(folder), tags)


class Reader:
    """Reads a store independently of the code under test."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.client = MlflowClient(uri)
        self.experiment = self.client.get_experiment_by_name(experiment)

    def runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment.experiment_id], max_results=5000))

    def parents(self) -> list[Run]:
        return [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]

    def parent(self) -> Run:
        (parent,) = self.parents()
        return parent

    def children(self) -> dict[int, Run]:
        children = [run for run in self.runs() if run.data.tags.get("mlflow.parentRunId") == self.parent().info.run_id]
        numbers = [int(run.data.tags["hypertune.trial"]) for run in children]
        assert len(set(numbers)) == len(numbers), f"doubled runs: {sorted(numbers)}"
        return dict(zip(numbers, children, strict=True))

    def history(self, run: Run, name: str) -> list[tuple[int, int, float]]:
        """Points of a series as (step, timestamp, value)."""
        points = self.client.get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.timestamp, point.value) for point in points)

    def everything(self) -> dict[object, object]:
        """All that is in the store, in a form that two stores with the same content share."""
        content: dict[object, object] = {}
        for number, run in [(-1, self.parent()), *self.children().items()]:
            tags = {name: _LINK.sub("#", text) for name, text in run.data.tags.items() if name not in _VARYING}
            series = {name: repr(self.history(run, name)) for name in run.data.metrics}  # as text, nan equals nan
            content[number] = (run.info.status, run.info.end_time, run.data.params, tags, series)
        return content


_LINK = re.compile(r"#/experiments/\d+/runs/\w+")
_VARYING = (
    "mlflow.parentRunId",
    "hypertune.checked",
    "hypertune.best_run",
    "hypertune.folder",
    "mlflow.log-model.history",
)


@pytest.fixture
def read() -> Callable[[str, str], Reader]:
    return Reader


@pytest.fixture(autouse=True)
def _in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing may be written to the current directory."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    yield
    assert list(cwd.iterdir()) == []
