from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from hypertune.effects import catalogue
from hypertune.effects.catalogue import register_effect
from hypertune.effects.contract import Effect, Hyperparameter, Values
from hypertune.errors import SpaceError, StorageError, TrialError
from hypertune.families.contract import Family
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training.fit import fit
from hypertune.training.schedule import Schedule
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings

Make = Callable[..., Any]

RANGE = {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True}


def space(**entries: Mapping[str, Any]) -> SearchSpace:
    return SearchSpace.from_mapping(entries)


def settings(epochs: int = 4, **tuning: Any) -> TrainingSettings:
    return TrainingSettings(device="cpu", epochs=epochs, batch_size=16, self_tuning=SelfTuningSettings(**tuning))


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Values that an effect named ``probe`` was called with, batch by batch."""
    monkeypatch.setattr(catalogue, "_registered", {})
    read: list[float] = []

    @register_effect
    class Probe(Effect):
        hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {"probe": Hyperparameter("recorded", high=1.0)}

        def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
            read.append(float(values["probe"].flatten()[0]))
            assert len(values["probe"].flatten().unique()) == 1  # nothing is perturbed
            return x

    return read


@pytest.mark.parametrize("algorithm", ["stn", "delta_stn"])
def test_a_replay_goes_through_the_same_values_step_by_step(
    make_trial: Make,
    make_classes: Make,
    dropout_family: Family,
    tmp_path: Path,
    algorithm: str,
) -> None:
    ranges = space(dropout=RANGE, shift={**RANGE, "high": 0.5})
    params = {"dropout": 0.3, "shift": 0.2, "lr": 0.02}
    trial, recorder = make_trial(params, folder=tmp_path / "tuned")
    tuned = fit(trial, dropout_family, make_classes(), settings(algorithm=algorithm, train_steps=2), space=ranges)
    path = tmp_path / "tuned" / "schedule.csv"
    again, replayed = make_trial({**params, "dropout": 0.7}, folder=tmp_path / "replayed")
    result = fit(again, dropout_family, make_classes(), settings(replay=str(path)), space=ranges)
    assert [report.tuned for report in replayed.reports] == [report.tuned for report in recorder.reports]
    assert (tmp_path / "replayed" / "schedule.csv").read_bytes() == path.read_bytes()
    best = int(result.metrics["best_epoch"])
    assert result.tuned == recorder.reports[best].tuned
    assert set(replayed.reports[0].metrics) == {"train/loss", "val/loss", "val/accuracy"}
    assert result.cost.gradient_steps == tuned.cost.gradient_steps
    content = torch.load(result.checkpoint, weights_only=True)  # type: ignore[arg-type]
    assert content["params"] == {**params, **result.tuned}


def test_each_step_reads_its_own_entry(
    make_trial: Make, make_classes: Make, linear_family: Family, tmp_path: Path, probe: list[float]
) -> None:
    schedule = Schedule(["probe"])
    for step, value in ((0, 0.1), (1, 0.2), (5, 0.3), (6, 0.4), (9, 0.5), (100, 0.9)):
        schedule.record(step, {"probe": value})
    schedule.save(tmp_path / "schedule.csv")
    trial, recorder = make_trial({"probe": 0.7})
    chosen = settings(epochs=2, replay=str(tmp_path / "schedule.csv"))
    fit(trial, linear_family, make_classes(), chosen, space=space(probe={**RANGE, "high": 1.0}))
    expected = [0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.4, 0.4, 0.4, 0.5, 0.5, 0.5]  # 6 steps an epoch
    assert probe == pytest.approx(expected, rel=1e-6)
    assert [report.tuned["probe"] for report in recorder.reports] == [0.4, 0.5]  # those of the next step


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_constant_schedule_is_plain_training(
    make_trial: Make, make_classes: Make, dropout_family: Family, tmp_path: Path, optimizer: str
) -> None:
    values = {"input_noise": 0.3, "shift": 0.1, "label_smoothing": 0.2, "weight_decay": 0.05}
    schedule = Schedule(list(values))
    schedule.record(0, values)
    schedule.save(tmp_path / "schedule.csv")
    params = {**values, "lr": 0.02, "optimizer": optimizer, "erase": 0.2}
    task: Task = make_classes()
    task = replace(task, tune=task.val)  # so that both select on all of it
    plain, expected = make_trial(params, folder=tmp_path / "plain")
    fit(plain, dropout_family, task, TrainingSettings(device="cpu", epochs=4, batch_size=16))
    replay, reports = make_trial(params, folder=tmp_path / "replay")
    ranges = space(**{name: {**RANGE, "high": 0.5} for name in values})
    fit(replay, dropout_family, task, settings(replay=str(tmp_path / "schedule.csv")), space=ranges)
    assert [report.metrics["val/loss"] for report in reports.reports] == pytest.approx(
        [report.metrics["val/loss"] for report in expected.reports], rel=1e-4
    )
    # The penalty is part of the replayed loss, and happens inside the optimizer of a plain one.
    assert all(
        ours.metrics["train/loss"] > theirs.metrics["train/loss"]
        for ours, theirs in zip(reports.reports, expected.reports, strict=True)
    )


def test_whole_numbers_replay(make_trial: Make, make_classes: Make, linear_family: Family, tmp_path: Path) -> None:
    (tmp_path / "schedule.csv").write_text("step,erase_holes\n0,1.0\n8,3.0\n")
    trial, recorder = make_trial({"erase_holes": 2, "erase": 0.3})
    ranges = space(erase_holes={"type": "int", "low": 0, "high": 8, "self_tune": True})
    chosen = settings(epochs=2, replay=str(tmp_path / "schedule.csv"))
    result = fit(trial, linear_family, make_classes(), chosen, space=ranges)
    assert [report.tuned for report in recorder.reports] == [{"erase_holes": 1.0}, {"erase_holes": 3.0}]
    params = torch.load(result.checkpoint, weights_only=True)["params"]  # type: ignore[arg-type]
    assert type(params["erase_holes"]) is int


def test_only_what_the_schedule_has_changes(
    make_trial: Make, make_classes: Make, dropout_family: Family, tmp_path: Path
) -> None:
    (tmp_path / "schedule.csv").write_text("step,dropout\n0,0.25\n")
    trial, recorder = make_trial({"dropout": 0.1, "shift": 0.2})
    chosen = settings(epochs=1, replay=str(tmp_path / "schedule.csv"))
    ranges = space(dropout=RANGE, shift={**RANGE, "high": 0.5})
    result = fit(trial, dropout_family, make_classes(), chosen, space=ranges)
    assert recorder.reports[0].tuned == {"dropout": 0.25}
    assert torch.load(result.checkpoint, weights_only=True)["params"] == {"dropout": 0.25, "shift": 0.2}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "params", "error", "message"),
    [
        (None, {}, StorageError, "not a readable schedule"),
        ("epoch,dropout\n0,0.1\n", {}, StorageError, "not a readable schedule"),
        ("step,dropuot\n0,0.1\n", {}, SpaceError, r"space\.dropuot: in the schedule, and not self-tuned"),
        ("step,shift\n0,0.1\n", {}, SpaceError, r"space\.shift: in the schedule, and not self-tuned"),
        ("step,dropout\n0,0.9\n", {}, SpaceError, "dropout"),
        ("step,weight_decay\n0,0.1\n", {"optimizer": "adamw"}, TrialError, "decoupled weight decay"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(
    make_trial: Make,
    make_classes: Make,
    dropout_family: Family,
    tmp_path: Path,
    content: str | None,
    params: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    path = tmp_path / "schedule.csv"
    if content is not None:
        path.write_text(content)
    trial, _ = make_trial({"dropout": 0.1, "weight_decay": 0.1, **params})
    ranges = space(dropout=RANGE, weight_decay=RANGE, shift={**RANGE, "high": 0.5, "self_tune": False})
    with pytest.raises(error, match=message):
        fit(trial, dropout_family, make_classes(), settings(replay=str(path)), space=ranges)
