"""What the study's run gets beside numbers: data sets, a registered model, the report, samples of the machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from hypertune.records import (
    Cost,
    Event,
    Failed,
    Finished,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)
from hypertune.tracking._names import key
from hypertune.tracking._publishing import Publishing
from hypertune.tracking._register import register_model
from hypertune.tracking._store import used_store
from hypertune.tracking._system_metrics import SystemMetrics
from hypertune.tracking.contract import Attachments, DataSplit
from hypertune.tracking.mlflow import MlflowWriter

T0 = 1_700_000_000.0
SPLITS = [
    DataSplit("wine", "train", 106, "aaaa", (13,), 3, "classification"),
    DataSplit("wine", "test", None, "bbbb"),
]


def study(info: StudyInfo, value: float = 0.5) -> list[Event]:
    return [
        StudyOpened(T0, info),
        Started(0, T0, {"lr": 0.1}, 0),
        Finished(0, T0 + 1, TrialResult(value, {"test/accuracy": 0.5}, {}, Cost(1, 2, 3.0))),
        StudyClosed(T0 + 2, True, 0, {}),
    ]


def a_model(number: int) -> tuple[torch.nn.Module, np.ndarray]:
    return torch.nn.Linear(4, 3), np.ones((2, 4), dtype=np.float32)


def test_data_sets_are_logged_once(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    for _ in range(2):
        MlflowWriter(store, "exp", info, attachments=Attachments(describe_data=lambda: SPLITS)).apply(study(info))
    inputs = read(store, "exp").parent().inputs.dataset_inputs
    found = {entry.dataset.name: entry for entry in inputs}
    assert sorted(found) == ["wine test", "wine train"]
    assert len(inputs) == 2
    train = found["wine train"]
    assert train.dataset.digest == "aaaa"
    assert json.loads(train.dataset.profile) == {
        "num_rows": 106,
        "input_shape": [13],
        "outputs": 3,
        "kind": "classification",
    }
    assert [(tag.key, tag.value) for tag in train.tags] == [("mlflow.data.context", "train")]


def test_the_report_is_attached_and_a_failing_one_costs_nothing(
    store: str, info: StudyInfo, read: Callable[..., Any], tmp_path: Path
) -> None:
    def report() -> Path:
        folder = tmp_path / "made"
        (folder / "images").mkdir(parents=True)
        (folder / "report.html").write_text("<p>hello")
        (folder / "images" / "a.png").write_bytes(b"png")
        return folder

    def broken() -> Path:
        raise RuntimeError("no figures for postgresql://me:hunter@host/db")

    MlflowWriter(store, "good", info, attachments=Attachments(write_report=report)).apply(study(info))
    reader = read(store, "good")
    files = {file.path for file in reader.client.list_artifacts(reader.parent().info.run_id, "report")}
    assert files == {"report/report.html", "report/images"}
    MlflowWriter(store, "bad", info, attachments=Attachments(write_report=broken)).apply(study(info))
    parent = read(store, "bad").parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hypertune.report_error"] == "RuntimeError: no figures for postgresql://me:***@host/db"


def test_longer_work_is_announced(store: str, info: StudyInfo) -> None:
    said: list[str] = []
    attachments = Attachments(load_model=lambda number: None, describe_data=lambda: SPLITS, write_report=lambda: None)
    MlflowWriter(store, "exp", info, attachments=attachments, progress=said.append).apply(study(info))
    assert said == ["logging the best model", "describing the data", "writing the report"]


def test_the_best_model_is_registered_with_an_example(
    store: str, info: StudyInfo, read: Callable[..., Any], tmp_path: Path
) -> None:
    attachments = Attachments(load_model=a_model, register="a model")
    for _ in range(2):  # a replay
        writer = MlflowWriter(store, "exp", info, attachments=attachments)
        writer.apply(study(info))
    reader = read(store, "exp")
    parent = reader.parent()
    assert "hypertune.register_error" not in parent.data.tags
    assert parent.data.tags["hypertune.registered"] == "models:/a model/1"
    version = reader.client.get_model_version_by_alias("a model", "champion")
    assert (int(version.version), version.run_id) == (1, writer.parent_run_id)
    assert version.tags["hypertune.metric"] == "val/loss"
    assert version.tags["hypertune.value"] == "0.5"
    assert list(tmp_path.rglob("input_example.json")) or list(tmp_path.rglob("serving_input_example.json"))


def test_only_a_better_model_becomes_champion(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    writer = MlflowWriter(store, "exp", info)
    client, experiment = read(store, "exp").client, writer.experiment_id

    def add(value: float, direction: str = "minimize", metric: str = "val/loss") -> str:
        model = client.create_logged_model(experiment, name="model")
        client.finalize_logged_model(model.model_id, "READY")
        tags = {"hypertune.metric": metric, "hypertune.direction": direction}
        run = writer.parent_run_id
        with used_store(store):
            return register_model(client, "m", model_id=model.model_id, run_id=run, value=value, tags=tags, note="")

    def aliases() -> dict[str, str]:
        return {alias: str(number) for alias, number in client.get_registered_model("m").aliases.items()}

    assert add(0.5) == "1"
    assert aliases() == {"champion": "1"}
    add(0.7)
    assert aliases() == {"champion": "1", "challenger": "2"}
    add(0.3)
    assert aliases() == {"champion": "3", "challenger": "2"}
    add(0.9, "maximize", "val/accuracy")  # another yardstick: the newest counts
    assert aliases()["champion"] == "4"
    add(0.8, "maximize", "val/accuracy")
    assert aliases()["champion"] == "4"


def test_the_machines_load_is_sampled_at_intervals() -> None:
    sampler = SystemMetrics(begun=T0, interval=5.0)
    first = {metric.key: metric for metric in sampler.due(T0 + 100)}
    assert 0 <= first["system/cpu_utilization_percentage"].value <= 100
    assert 0 < first["system/system_memory_usage_percentage"].value <= 100
    assert {metric.step for metric in first.values()} == {100}
    assert sampler.due(T0 + 104.9) == []
    assert {metric.step for metric in sampler.due(T0 + 105)} == {105}


def test_samples_reach_the_studys_run_and_an_outage_only_loses_them(
    store: str, info: StudyInfo, read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing = Publishing(info.folder, store, "exp", info, Attachments(system_metrics=True))
    publishing.sample()
    assert "system/cpu_utilization_percentage" in read(store, "exp").parent().data.metrics
    monkeypatch.setattr(MlflowWriter, "log", lambda *args: 1 / 0)
    publishing.sample()
    assert publishing.status.state == "ok"


def test_files_of_the_run_are_attached_without_credentials(
    store: str, info: StudyInfo, read: Callable[..., Any]
) -> None:
    folder = Path(info.folder)
    config = {"sampler": {"name": "tpe", "password": "hunter22"}, "tracking": {"uri": "http://me:swordfish@host"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "space.yaml").write_text(yaml.safe_dump({"data": {"choices": ["s3://me:swordfish@b"]}}))
    events: list[Event] = [
        StudyOpened(T0, info),
        Started(0, T0, {"data": "s3://me:swordfish@b"}, 0),
        Reported(0, T0, Report(0, {"val/loss": 1.0})),
        Failed(0, T0 + 1, "no http://me:swordfish@host", "Traceback\nhttp://me:swordfish@host"),
        StudyClosed(T0 + 2, True, None, {"trials": [{"reason": "no http://me:swordfish@host"}]}),
    ]
    MlflowWriter(store, "exp", info).apply(events)
    reader = read(store, "exp")
    shown = [str(reader.everything())]
    for run in (reader.parent(), *reader.children().values()):
        for file in reader.client.list_artifacts(run.info.run_id):
            shown += [Path(reader.client.download_artifacts(run.info.run_id, file.path)).read_text()]
    assert len(shown) == 5  # config, space, result, traceback
    for text in shown:
        assert "swordfish" not in text
        assert "hunter22" not in text
    assert any("***" in text for text in shown)


NAMES = ["<b>x</b>", "a'b\"c", "a/b//c", "🙂 é", "x" * 500, "y:z", "../up", "-"]


def test_odd_names_can_be_read_back(store: str, info: StudyInfo, read: Callable[..., Any]) -> None:
    params = {name: position for position, name in enumerate(NAMES)}
    metrics = {name: float(position) for position, name in enumerate(NAMES)}
    MlflowWriter(store, "exp", info).apply(
        [
            StudyOpened(T0, info),
            Started(0, T0, params, 0),
            Reported(0, T0, Report(0, metrics, {"<b>": 0.5})),
            Finished(0, T0 + 1, TrialResult(1.0, metrics, {"<b>": 0.25})),
            StudyClosed(T0 + 2, True, 0, {}),
        ]
    )
    reader = read(store, "exp")
    child, tags = reader.children()[0].data, reader.parent().data.tags
    back = {
        name.removeprefix("hypertune.name."): text for name, text in tags.items() if name.startswith("hypertune.name.")
    }
    assert {back.get(name, name): value for name, value in child.params.items()} == {
        n: str(p) for n, p in params.items()
    }
    finals = {back.get(name, name): value for name, value in child.metrics.items()}
    for name, value in metrics.items():
        assert finals[name] == value
        assert finals[f"final/{name}"] == value
    assert finals["hp/<b>"] == 0.5
    assert finals["final/hp/<b>"] == 0.25
    assert key("🙂 é").startswith("_ é-")
