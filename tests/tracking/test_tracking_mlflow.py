from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

import hypertune.tracking._store
from hypertune.errors import TrackingError
from hypertune.records import (
    Cost,
    Event,
    Failed,
    Finished,
    Pruned,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)
from hypertune.tracking._trial_batch import TrialBatch
from hypertune.tracking.contract import Attachments
from hypertune.tracking.mlflow import MlflowWriter

T0 = 1_700_000_000.0
MS = 1_700_000_000_000


def trial(number: int, value: float, epochs: int = 3) -> list[Event]:
    begin = T0 + 10 * number
    reports = [
        Reported(number, begin + 1 + step, Report(step, {"val/loss": value + 1 / (step + 1)}, {"dropout": 0.1 * step}))
        for step in range(epochs)
    ]
    result = TrialResult(value, {"test/accuracy": 0.5 + number / 100}, {"dropout": 0.25}, Cost(epochs, 10, 1.5), "x.pt")
    params = {"lr": 0.1 * (number + 1), "act": "relu", "bias": True, "none": None}
    return [Started(number, begin, params, 42 + number, "local-0"), *reports, Finished(number, begin + 9, result)]


def study(info: StudyInfo) -> list[Event]:
    return [
        StudyOpened(T0, info),
        *trial(0, 0.5),
        *trial(1, 0.25),
        Started(2, T0 + 20, {"lr": 0.3}, 1),
        Reported(2, T0 + 21, Report(0, {"val/loss": float("nan")})),
        Pruned(2, T0 + 22, "cannot win", Cost(1, 5, 0.5)),
        Started(3, T0 + 30, {"lr": 0.4}, 1),
        Failed(3, T0 + 31, "ValueError: no", "Traceback (most recent call last)\n  ...\nValueError: no"),
        Started(4, T0 + 40, {"lr": 0.4}, 1),
        Failed(4, T0 + 41, "interrupted by the user", interrupted=True),
        Started(5, T0 + 50, {"lr": 0.4}, 1, retry_of=4),
        Finished(5, T0 + 51, TrialResult(0.75)),
        StudyClosed(T0 + 60, True, 1, {"best": {"value": 0.25}, "time": Path("x")}),
    ]


def batches(events: Sequence[Event], size: int) -> list[Sequence[Event]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


def test_a_whole_study_is_in_the_store(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    writer = MlflowWriter(store, "exp", info, opened=T0)
    writer.apply(study(info))
    reader = read(store, "exp")
    parent, children = reader.parent(), reader.children()

    assert parent.info.run_id == writer.parent_run_id
    assert parent.info.experiment_id == writer.experiment_id
    assert (parent.info.run_name, parent.info.status) == ("a study", "FINISHED")
    assert (parent.info.start_time, parent.info.end_time) == (MS, MS + 60_000)
    tags = parent.data.tags
    for name, text in {
        "study_id": "id-1",
        "sampler": "tpe",
        "user": "me",
        "git_commit": "abc",
        "metric": "val/loss",
    }.items():
        assert tags[f"hypertune.{name}"] == text
    assert tags["hypertune.best_trial"] == "1"
    assert tags["hypertune.best_run"] == children[1].info.run_id
    assert tags["hypertune.best.lr"] == "0.2"
    assert tags["mlflow.source.git.commit"] == "abc"
    assert parent.data.params == {  # what studies differ in, for MLflow's page that compares them
        "family": "mlp",
        "task": "digits",
        "sampler": "tpe",
        "metric": "val/loss",
        "direction": "minimize",
    }
    assert tags["hypertune.kind"] == "study"
    assert parent.data.metrics == {
        "best/value": 0.25,
        "best/hp/dropout": 0.25,  # where tuning ended, not what was reported last
        "best/test/accuracy": 0.51,
        "trials/complete": 3.0,
        "trials/pruned": 1.0,
        "trials/failed": 1.0,
        "trials/interrupted": 1.0,
    }
    assert reader.history(parent, "best/value") == [(0, MS + 9_000, 0.5), (1, MS + 19_000, 0.25)]

    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    child = children[1]
    assert (child.info.run_name, child.info.status) == ("trial 001", "FINISHED")
    assert child.data.tags["hypertune.kind"] == "trial"
    assert {number for number, run in children.items() if run.data.tags.get("hypertune.winner") == "true"} == {1}
    assert (child.info.start_time, child.info.end_time) == (MS + 10_000, MS + 19_000)
    assert child.data.params == {"lr": "0.2", "act": "relu", "bias": "True", "none": "None"}
    for name, text in {"state": "complete", "seed": "43", "sampler": "tpe", "family": "mlp", "task": "digits"}.items():
        assert child.data.tags[f"hypertune.{name}"] == text
    assert "hypertune.user" not in child.data.tags
    assert reader.history(child, "val/loss") == [
        (step, MS + 11_000 + 1000 * step, 0.25 + 1 / (step + 1)) for step in range(3)
    ]
    assert [point[2] for point in reader.history(child, "hp/dropout")] == [0.0, 0.1, 0.2]
    assert reader.history(child, "final/hp/dropout") == [(0, MS + 19_000, 0.25)]
    finals = {"value": 0.25, "test/accuracy": 0.51, "cost/epochs": 3, "cost/gradient_steps": 10, "cost/seconds": 1.5}
    for name, value in finals.items():
        assert reader.history(child, name) == [(0, MS + 19_000, value)]

    states = {number: (run.info.status, run.data.tags["hypertune.state"]) for number, run in children.items()}
    assert states[2] == ("KILLED", "pruned")
    assert states[3] == ("FAILED", "failed")
    assert states[4] == ("KILLED", "interrupted")
    assert states[5] == ("FINISHED", "complete")
    assert children[2].data.tags["hypertune.reason"] == "cannot win"
    assert children[2].data.metrics["cost/gradient_steps"] == 5
    assert str(children[2].data.metrics["val/loss"]) == "nan"
    assert children[5].data.tags["hypertune.retry_of"] == "4"

    client = reader.client
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "config.yaml",
        "space.yaml",
        "result.json",
    }
    result = Path(client.download_artifacts(parent.info.run_id, "result.json")).read_text()
    assert json.loads(result) == {"best": {"value": 0.25}, "time": "x"}
    traceback = Path(client.download_artifacts(children[3].info.run_id, "traceback.txt")).read_text()
    assert traceback.endswith("ValueError: no")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_how_events_are_cut_into_batches_changes_nothing(
    store: str, info: StudyInfo, read: Callable[..., Any], size: int
) -> None:
    whole = MlflowWriter(store, "whole", info, opened=T0)
    whole.apply(study(info))
    cut = MlflowWriter(store, "cut", info, opened=T0)
    for batch in batches(study(info), size):
        cut.apply(batch)
    assert read(store, "cut").everything() == read(store, "whole").everything()


def test_a_trial_takes_three_calls(store: str, info: StudyInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MlflowWriter(store, "exp", info)
    calls: list[str] = []
    for name in [
        name for name in dir(MlflowClient) if not name.startswith("_") and callable(getattr(MlflowClient, name))
    ]:
        original = getattr(MlflowClient, name)

        def counted(self: MlflowClient, *args: Any, _name: str = name, _call: Any = original, **options: Any) -> Any:
            calls.append(_name)
            return _call(self, *args, **options)

        monkeypatch.setattr(MlflowClient, name, counted)
    writer.apply([*trial(0, 0.5), Started(1, T0, {}, 0), Finished(1, T0, TrialResult(0.9))])
    assert calls == ["create_run", "log_batch", "set_terminated"] * 2 + ["log_batch"]  # the last: the new best value


class Crash(BaseException):
    """A process that dies at a given call, before or after the store did what it was asked."""


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_and_a_replay_leave_everything_exactly_once(
    store: str, info: StudyInfo, read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    events = study(info)
    MlflowWriter(store, "whole", info, opened=T0).apply(events)
    names = ("create_run", "log_batch", "set_terminated", "set_tag", "update_run", "log_text")
    countdown = [0]
    for name in names:
        original = getattr(MlflowClient, name)

        def dying(self: MlflowClient, *args: Any, _call: Any = original, **options: Any) -> Any:
            countdown[0] -= 1
            if countdown[0] == 0 and not after:
                raise Crash
            answer = _call(self, *args, **options)
            if countdown[0] == 0:
                raise Crash
            return answer

        monkeypatch.setattr(MlflowClient, name, dying)
    # One long chain of crashes in one store: each life gets one call further than the one before.
    crashes = 0
    while True:
        countdown[0] = crashes + 1
        try:
            MlflowWriter(store, "crashes", info, opened=T0).apply(events)
        except Crash:
            crashes += 1
        else:
            break
    assert crashes > 5
    countdown[0] = 0
    assert read(store, "crashes").everything() == read(store, "whole").everything()


def test_a_lost_answer_to_create_run_leaves_one_run(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    writer = MlflowWriter(store, "exp", info, opened=T0)
    writer.apply([StudyOpened(T0, info), *trial(0, 0.5)])
    # A server that carried out the request after the client had given up and asked again.
    tags = {"mlflow.parentRunId": writer.parent_run_id, "hypertune.trial": "0"}
    MlflowClient(store).create_run(writer.experiment_id, tags=tags)
    MlflowClient(store).create_run(writer.experiment_id, tags=tags, start_time=1)
    writer.apply([StudyClosed(T0 + 60, True, 0, {})])
    child = read(store, "exp").children()[0]
    assert child.data.metrics["value"] == 0.5
    assert child.info.status == "FINISHED"


def test_a_resumed_study_goes_on_in_its_run(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    first = MlflowWriter(store, "exp", info, opened=T0)
    first.apply([StudyOpened(T0, info), *trial(0, 0.5), StudyClosed(T0 + 20, False, 0, {})])
    assert read(store, "exp").parent().info.status == "KILLED"

    again = replace(info, tags={**info.tags, "git_commit": "def"})
    second = MlflowWriter(store, "exp", again, opened=T0 + 100)
    assert second.parent_run_id == first.parent_run_id
    second.apply([StudyOpened(T0 + 100, again)])
    assert read(store, "exp").parent().info.status == "RUNNING"
    other = Started(20, T0 + 200, {"depth": 2}, 0)
    second.apply([other, Finished(20, T0 + 209, TrialResult(0.1)), *trial(21, 0.3)])
    second.apply([StudyClosed(T0 + 300, True, 20, {})])
    reader = read(store, "exp")
    parent = reader.parent()
    assert (parent.info.status, parent.info.end_time) == ("FINISHED", MS + 300_000)
    assert parent.data.tags["hypertune.git_commit"] == "def"
    assert parent.data.tags["hypertune.best.depth"] == "2"
    assert "hypertune.best.lr" not in parent.data.tags  # of the best of before
    assert parent.data.metrics["trials/complete"] == 3
    assert reader.history(parent, "best/value") == [(0, MS + 9_000, 0.5), (20, MS + 209_000, 0.1)]
    assert sorted(reader.children()) == [0, 20, 21]


def test_replaying_both_sessions_from_the_beginning_changes_nothing(
    store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    sessions = [
        StudyOpened(T0, info),
        *trial(0, 0.5),
        StudyClosed(T0 + 20, False, 0, {}),
        StudyOpened(T0 + 100, info),
        *trial(20, 0.4),
        *trial(21, 0.3)[:2],  # still running
    ]
    MlflowWriter(store, "exp", info, opened=T0).apply(sessions)
    before = read(store, "exp").everything()
    assert before[21][0] == "RUNNING"  # type: ignore[index]
    MlflowWriter(store, "exp", info, opened=T0).apply(sessions)
    after = read(store, "exp").everything()
    assert after == before


def test_trials_whose_end_nobody_saw_are_ended_with_the_study(
    store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    writer = MlflowWriter(store, "exp", info, opened=T0)
    writer.apply([StudyOpened(T0, info), *trial(0, 0.5), *trial(1, 0.5)[:2], StudyClosed(T0 + 50, False, 0, {})])
    child = read(store, "exp").children()[1]
    assert (child.info.status, child.info.end_time) == ("KILLED", MS + 50_000)
    assert child.data.tags["hypertune.state"] == "interrupted"
    assert read(store, "exp").parent().data.metrics["trials/interrupted"] == 1


def test_two_studies_share_an_experiment(store: str, info: StudyInfo) -> None:
    one = MlflowWriter(store, "exp", info)
    two = MlflowWriter(store, "exp", replace(info, tags={"study_id": 'it\'s "another"'}))
    again = MlflowWriter(store, "exp", replace(info, tags={"study_id": 'it\'s "another"'}))
    nameless = MlflowWriter(store, "exp", replace(info, tags={}))
    assert len({one.parent_run_id, two.parent_run_id, nameless.parent_run_id}) == 3
    assert again.parent_run_id == two.parent_run_id


def test_odd_names_and_values_arrive(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    params = {"lr@x": 0.1, "": "empty", "a//b": "", "long": "y" * 9000, "ä/ß": "\ud800\x00", "x" * 300: 1}
    metrics = {
        "val:loss": 1.0,
        "val@loss": 2.0,
        "val(loss": 3.0,
        "../up": 4.0,
        "inf": float("inf"),
        "nan": float("nan"),
    }
    info = replace(info, tags={**info.tags, "odd tag!": "z" * 9000}, name="n'a\"me <b>")
    writer = MlflowWriter(store, "an 'odd' \"experiment\" /ä", info)
    writer.apply([StudyOpened(T0, info), Started(0, T0, params, 0), Reported(0, T0, Report(0, metrics, {"p%": 0.5}))])
    writer.apply(
        [Finished(0, T0 + 1, TrialResult(1.0, {"test/a|b": 7.0})), StudyClosed(T0 + 2, True, 0, {"a": float("nan")})]
    )
    reader = read(store, "an 'odd' \"experiment\" /ä")
    data = reader.children()[0].data
    assert len(data.params) == len(params)
    assert sorted(value for value in data.params.values() if len(value) < 9) == ["", "0.1", "1", "?�", "empty"]
    assert len(data.params["long"]) == 6000
    assert sorted(value for value in data.metrics.values() if 1.5 <= value < 9) == [2.0, 3.0, 4.0, 7.0]
    assert data.metrics["inf"] == sys.float_info.max
    assert reader.parent().info.run_name == "n'a\"me <b>"


def test_more_than_a_call_can_take_arrives(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    writer = MlflowWriter(store, "exp", info)
    reports = [Reported(0, T0 + step, Report(step, {f"m{k}": float(step) for k in range(10)})) for step in range(250)]
    writer.apply([Started(0, T0, {f"p{k}": k for k in range(230)}, 0), *reports])
    reader = read(store, "exp")
    child = reader.children()[0]
    assert len(child.data.params) == 230
    for k in range(10):
        assert [point[0] for point in reader.history(child, f"m{k}")] == list(range(250))


def test_a_metric_that_is_series_and_final_keeps_both(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    ended = Finished(0, T0 + 5, TrialResult(0.5, {"val/loss": 0.5, "value": 9.0}))
    events = [Started(0, T0, {}, 0), Reported(0, T0 + 1, Report(0, {"val/loss": 0.9})), ended]
    whole = MlflowWriter(store, "whole", info, opened=T0)
    whole.apply(events)
    for event in events:  # a publisher that is started anew for every event knows the series from the store
        MlflowWriter(store, "cut", info, opened=T0).apply([event])
    for experiment in ("whole", "cut"):
        reader = read(store, experiment)
        child = reader.children()[0]
        assert reader.history(child, "val/loss") == [(0, MS + 1_000, 0.9)]
        assert reader.history(child, "final/val/loss") == [(0, MS + 5_000, 0.5)]


def test_metrics_are_deduplicated_by_the_sql_store(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    """What exactly-once rests on, checked on MLflow alone."""
    writer = MlflowWriter(store, "exp", info)
    points = [Metric("m", value, MS, 0) for value in (1.0, float("nan"), float("inf"), -0.0)]
    for _ in range(2):
        MlflowClient(store).log_batch(writer.parent_run_id, metrics=points)
    assert len(read(store, "exp").history(read(store, "exp").parent(), "m")) == 4


def test_a_new_database_is_in_wal_mode_and_keeps_artifacts_beside_it(tmp_path: Path, info: StudyInfo) -> None:
    uri = f"sqlite:///{tmp_path}/deep/er folder/mlflow.db"
    writer = MlflowWriter(uri, "exp", info)
    writer.apply([StudyOpened(T0, info)])
    with sqlite3.connect(tmp_path / "deep/er folder/mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    (config,) = (tmp_path / "deep/er folder/artifacts").rglob("config.yaml")
    assert config.read_text() == "study: {}\n"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://127.0.0.1:9", r"Connection refused.*given 'http://127\.0\.0\.1:9'.*start the server"),
        ("http://me:secret@127.0.0.1:9", r"given 'http://me:\*\*\*@127"),
        ("foo://x", r"MLflow knows no store of this kind; given 'foo://x'; expected sqlite:///"),
        ("", r"not a store that lasts"),
        ("sqlite:///:memory:", r"not a store that lasts"),
        ("sqlite:////dev/null/x/mlflow.db", r"(Not a directory|File exists).*make the file and its folder writable"),
        ("postgresql://me:secret@127.0.0.1:9/x", r"given 'postgresql://me:\*\*\*@127"),
    ],
)
def test_a_store_that_cannot_be_used_is_named(info: StudyInfo, uri: str, message: str) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri.*" + message) as caught:
        MlflowWriter(uri, "exp", info)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_or_is_locked_is_named(
    tmp_path: Path, store: str, info: StudyInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hypertune.tracking._store._SQLITE_SECONDS <= 10
    monkeypatch.setattr(hypertune.tracking._store, "_SQLITE_SECONDS", 0.5)
    (tmp_path / "notes.db").write_text("not a database" * 100)
    with pytest.raises(TrackingError, match="file is not a database"):
        MlflowWriter(f"sqlite:///{tmp_path}/notes.db", "exp", info)
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    begin = time.monotonic()
    with pytest.raises(TrackingError, match=r"database is locked.*stop the process that holds"):
        MlflowWriter(store, "exp", info)
    holder.close()
    assert time.monotonic() - begin < 10


def test_a_deleted_experiment_is_named(store: str, info: StudyInfo) -> None:
    experiment_id = MlflowWriter(store, "exp", info).experiment_id
    MlflowClient(store).delete_experiment(experiment_id)
    with pytest.raises(
        TrackingError, match=r"tracking\.experiment: the experiment is deleted.*mlflow experiments restore"
    ):
        MlflowWriter(store, "exp", info)


MODEL = """
import torch

class UserNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.layer(x))
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "code" / "a_users_model.py"
    path.parent.mkdir()
    path.write_text(MODEL)
    monkeypatch.syspath_prepend(str(path.parent))
    return path


class Loader:
    """Gives a model that depends on the trial; counts how often it was asked."""

    def __init__(self, example: bool = True) -> None:
        self.asked: list[int] = []
        self.example = example

    def __call__(self, number: int) -> tuple[torch.nn.Module, np.ndarray | None]:
        from a_users_model import UserNet  # made by the fixture

        self.asked.append(number)
        torch.manual_seed(number)
        return UserNet(), np.ones((2, 4), dtype=np.float32) if self.example else None


def test_the_best_model_is_loaded_in_a_fresh_process(
    store: str, info: StudyInfo, user_module: Path, tmp_path: Path, read: Callable[..., Any]
) -> None:
    loader = Loader()
    writer = MlflowWriter(
        store, "exp", info, attachments=Attachments(load_model=loader, code_paths=(str(user_module),))
    )
    uri_before = mlflow.get_tracking_uri()
    closed = StudyClosed(T0 + 60, True, 1, {})
    writer.apply([StudyOpened(T0, info), *trial(0, 0.5), *trial(1, 0.25), closed])
    writer.apply([closed])  # a replay
    MlflowWriter(store, "exp", info, attachments=Attachments(load_model=loader)).apply([closed])
    assert loader.asked == [1]
    assert mlflow.get_tracking_uri() == uri_before

    code = f"""
import warnings
import mlflow, numpy as np, torch
mlflow.set_tracking_uri({store!r})
model = mlflow.pytorch.load_model("runs:/{writer.parent_run_id}/model")
x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)).astype("float32"))
with torch.no_grad():
    np.save({str(tmp_path / "out.npy")!r}, model(x).numpy())
print(type(model).__module__, model.training)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["a_users_model", "False"]
    torch.manual_seed(1)
    from a_users_model import UserNet

    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)).astype("float32"))
    with torch.no_grad():
        expected = UserNet().eval()(x).numpy()
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)

    (model,) = read(store, "exp").client.search_logged_models([writer.experiment_id])
    assert read(store, "exp").parent().data.tags["hypertune.best_model"] == model.model_uri
    assert model.params["lr"] == "0.2"
    assert {metric.key: metric.value for metric in model.metrics} == {"best/test/accuracy": 0.51, "best/value": 0.25}
    signature = mlflow.models.Model.load(f"{tmp_path}/artifacts/models/{model.model_id}/artifacts").signature
    assert str(signature.inputs) == "[Tensor('float32', (-1, 4))]"
    assert str(signature.outputs) == "[Tensor('float32', (-1, 3))]"
    parent = read(store, "exp").parent()
    assert [point[2] for point in read(store, "exp").history(parent, "best/value")] == [0.5, 0.25]
    requirements = next(tmp_path.rglob("requirements.txt")).read_text().split()
    assert f"torch=={torch.__version__.partition('+')[0]}" in requirements


def test_a_better_model_replaces_the_earlier_best(
    store: str, info: StudyInfo, user_module: Path, read: Callable[..., Any]
) -> None:
    loader = Loader(example=False)
    MlflowWriter(store, "exp", info, attachments=Attachments(load_model=loader)).apply(
        [StudyOpened(T0, info), *trial(0, 0.5), StudyClosed(T0 + 20, False, 0, {})]
    )
    writer = MlflowWriter(store, "exp", info, attachments=Attachments(load_model=loader))
    # What a publisher leaves that is killed while it logs.
    writer._client.create_logged_model(writer.experiment_id, name="model", source_run_id=writer.parent_run_id)
    writer.apply([StudyOpened(T0 + 100, info), *trial(11, 0.25), StudyClosed(T0 + 200, True, 11, {})])
    assert loader.asked == [0, 11]
    (model,) = read(store, "exp").client.search_logged_models([writer.experiment_id])
    assert model.tags["hypertune.trial"] == "11"
    mlflow.set_tracking_uri(store)
    loaded = mlflow.pytorch.load_model(f"runs:/{writer.parent_run_id}/model")
    mlflow.set_tracking_uri(None)
    torch.manual_seed(11)
    assert torch.equal(loaded.layer.weight, torch.nn.Linear(4, 3).weight)


def test_a_model_that_cannot_be_logged_costs_nothing_else(
    store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    def broken(number: int) -> tuple[torch.nn.Module, None]:
        raise RuntimeError(f"no weights\nof trial {number}")

    events = [StudyOpened(T0, info), *trial(0, 0.5), StudyClosed(T0 + 20, True, 0, {})]
    MlflowWriter(store, "exp", info, attachments=Attachments(load_model=broken)).apply(events)
    parent = read(store, "exp").parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hypertune.model_error"] == "RuntimeError: no weights of trial 0"
    assert "hypertune.best_model" not in parent.data.tags
    MlflowWriter(store, "exp", info, attachments=Attachments(load_model=lambda number: None)).apply(events)
    assert "hypertune.model_error" not in read(store, "exp").parent().data.tags
    assert parent.data.metrics["best/test/accuracy"] == 0.5


@pytest.mark.bench
def test_throughput(store: str, info: StudyInfo) -> None:
    writer = MlflowWriter(store, "exp", info)
    count = 1000
    events: list[Event] = []
    for number in range(count):
        params = {f"p{k}": 0.1 * k for k in range(10)}
        events += [Started(number, T0 + number, params, 0), Finished(number, T0 + number, TrialResult(1.0 + number))]
    begin = time.perf_counter()
    writer.apply(events)
    per_trial = (time.perf_counter() - begin) / count
    points = [Reported(count, T0 + k, Report(k, {f"m{j}": float(k) for j in range(10)})) for k in range(100)]
    writer.apply([Started(count, T0, {}, 0)])
    begin = time.perf_counter()
    writer.apply(points)
    thousand = time.perf_counter() - begin
    begin = time.perf_counter()
    MlflowWriter(store, "exp", info)
    again = time.perf_counter() - begin
    print(f"mlflow on SQLite: {per_trial * 1e3:.1f} ms/trial, 1,000 points {thousand:.2f} s, open again {again:.2f} s")
    assert per_trial < 0.03


def test_a_series_whose_last_report_comes_with_the_end_stays_a_series() -> None:
    """A trial may report and return within one millisecond."""
    batch = TrialBatch(0)
    for step in range(3):
        batch.add(Reported(0, 5.0, Report(step, {"value": float(step)})))
    batch.add(Finished(0, 5.0, TrialResult(2.0)))
    assert [(m.key, m.step) for m in batch.metrics if m.key in ("value", "final/value")] == [
        ("value", 0),
        ("value", 1),
        ("value", 2),
        ("final/value", 0),
    ]
