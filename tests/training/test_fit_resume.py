"""A trial that is killed and run again continues bit by bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypertune.families.contract import Family
from hypertune.records import TRIAL_STATE, Report, TaskSpec, TrialResult
from hypertune.space import SearchSpace
from hypertune.training.fit import fit
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import TrialPruned

Make = Callable[..., Any]

EPOCHS, BATCH = 6, 20
SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True},
        "shift": {"type": "float", "low": 0.0, "high": 0.5, "self_tune": True},
    }
)
# A little of everything that has a state: momentum, schedule, draws of effects and dropout, batch statistics.
PARAMS = {
    **{"dropout": 0.3, "shift": 0.1, "lr": 0.02, "lr_schedule": "cosine"},
    **{"input_noise": 0.1, "erase": 0.2, "mixup": 0.2, "label_smoothing": 0.1},
}


class Killed(BaseException):
    """What no code catches: a signal, a dead machine."""


@pytest.fixture(scope="module")
def schedule_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replayed") / "schedule.csv"
    path.write_text("step,dropout,shift\n0,0.3,0.1\n7,0.5,0.2\n8,0.1,0.3\n20,0.2,0.0\n")
    return path


def settings_of(kind: str, schedule: Path, **values: Any) -> TrainingSettings:
    tuning = {"train_steps": 2, "warmup": 0.2}
    self_tuning = {
        "plain": None,
        "stn": SelfTuningSettings(**tuning),
        "stn of rank 2": SelfTuningSettings(**tuning, rank=2),
        "delta_stn": SelfTuningSettings(algorithm="delta_stn", **tuning),
        "replay": SelfTuningSettings(replay=str(schedule)),
    }[kind]
    return TrainingSettings(
        **{"device": "cpu", "epochs": EPOCHS, "batch_size": BATCH, "state_seconds": 0.0, **values},
        self_tuning=self_tuning,
    )


KINDS = ["plain", "stn", "stn of rank 2", "delta_stn", "replay"]


@pytest.fixture
def run(
    make_trial: Make, make_classes: Make, dropout_family: Family, tmp_path: Path
) -> Callable[..., tuple[TrialResult | None, list[Report]]]:
    """Run a trial in a folder; None for the result of one that was killed."""

    def start(
        folder: str,
        settings: TrainingSettings,
        *,
        kill_at: int | None = None,
        params: Mapping[str, Any] = PARAMS,
        seed: int = 3,
        family: Family | None = None,
    ) -> tuple[TrialResult | None, list[Report]]:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        trial, recorder = make_trial(params, seed=seed, folder=path)

        def kill() -> None:
            if recorder.reports[-1].step == kill_at:
                raise Killed

        recorder.on_report = kill
        try:
            result = fit(trial, family or dropout_family, make_classes(), settings, space=SPACE)
        except Killed:
            return None, recorder.reports
        return result, recorder.reports

    return start


def weights(result: TrialResult | None) -> dict[str, Any]:
    assert result is not None
    assert result.checkpoint is not None
    content: dict[str, Any] = torch.load(result.checkpoint, weights_only=True)
    return content


def assert_same(a: tuple[TrialResult | None, list[Report]], b: tuple[TrialResult | None, list[Report]]) -> None:
    """Compare bit by bit, but for the time."""
    (first, reports), (second, others) = a, b
    assert first is not None
    assert second is not None
    assert reports == others
    assert (first.value, first.metrics, first.tuned) == (second.value, second.metrics, second.tuned)
    assert (first.cost.epochs, first.cost.gradient_steps) == (second.cost.epochs, second.cost.gradient_steps)
    ours, theirs = weights(first), weights(second)
    assert ours["params"] == theirs["params"]
    assert ours["model"].keys() == theirs["model"].keys()
    assert all(torch.equal(weight, theirs["model"][name]) for name, weight in ours["model"].items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("killed", [(1,), (3, 4)])
def test_a_killed_trial_ends_as_if_it_had_not_been(
    run: Make, schedule_file: Path, tmp_path: Path, kind: str, killed: tuple[int, ...]
) -> None:
    settings = settings_of(kind, schedule_file)
    whole = run("whole", settings)
    for epoch in killed:
        assert run("killed", settings, kill_at=epoch)[0] is None
        assert (tmp_path / "killed" / TRIAL_STATE).exists()
        torch.rand(3)  # a process of its own would draw other numbers, too
    continued = run("killed", settings)
    assert_same(continued, whole)
    assert not (tmp_path / "killed" / TRIAL_STATE).exists()
    if kind != "plain":
        assert (tmp_path / "killed" / "schedule.csv").read_bytes() == (tmp_path / "whole" / "schedule.csv").read_bytes()


def test_what_was_done_is_not_done_again(run: Make, schedule_file: Path) -> None:
    steps: list[int] = []

    class Counted(nn.Linear):
        def forward(self, x: Any) -> Any:
            steps.extend([1] * self.training)
            return super().forward(x)

    family = Family("counted", lambda params, task: nn.Sequential(nn.Flatten(), Counted(36, 3)))
    settings = settings_of("plain", schedule_file)
    run("killed", settings, kill_at=3, family=family)
    before = len(steps)
    result, reports = run("killed", settings, family=family)
    assert before == 4 * 5
    assert len(steps) == EPOCHS * 5 + 5  # the epoch that was not written is repeated
    assert [report.step for report in reports] == list(range(EPOCHS))
    assert result.cost.gradient_steps == EPOCHS * 5


def test_training_may_go_on_longer(run: Make, schedule_file: Path) -> None:
    settings = settings_of("plain", schedule_file)
    params = {**PARAMS, "lr_schedule": "constant"}
    run("killed", replace(settings, epochs=3), kill_at=2, params=params)
    assert_same(run("killed", settings, params=params), run("whole", settings, params=params))


@pytest.mark.parametrize("kind", ["plain", "stn"])
@pytest.mark.parametrize("change", ["params", "seed", "batch_size", "algorithm", "direction", "state"])
def test_a_trial_of_another_kind_starts_anew(
    run: Make, schedule_file: Path, tmp_path: Path, kind: str, change: str
) -> None:
    before = after = settings_of(kind, schedule_file)
    first: dict[str, Any] = {}
    if change == "params":
        first = {"params": {**PARAMS, "lr": 0.5}}
    elif change == "seed":
        first = {"seed": 4}
    elif change == "batch_size":
        before = replace(before, batch_size=10)
    elif change == "direction":
        before = replace(before, direction="maximize")
    elif change == "algorithm":
        before = settings_of("delta_stn", schedule_file)
    run("killed", before, kill_at=2, **first)
    if change == "state":
        # Most of it loads before it turns out not to fit.
        path = tmp_path / "killed" / TRIAL_STATE
        state = torch.load(path, weights_only=False)
        state["random"]["torch"] = state["random"]["torch"][:10]
        torch.save(state, path)
    assert_same(run("killed", after), run("whole", after))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "keys"])
def test_a_damaged_state_starts_anew(run: Make, schedule_file: Path, tmp_path: Path, damage: str) -> None:
    settings = settings_of("stn", schedule_file)
    run("killed", settings, kill_at=2)
    path = tmp_path / "killed" / TRIAL_STATE
    if damage == "keys":
        state = torch.load(path, weights_only=False)
        torch.save({"identity": state["identity"], "learner": state["learner"]}, path)
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"state"}[damage])
    assert_same(run("killed", settings), run("whole", settings))


def test_a_model_that_has_changed_starts_anew(run: Make, schedule_file: Path) -> None:
    settings = settings_of("plain", schedule_file)

    def of_width(width: int) -> Family:
        def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.Tanh(), nn.Linear(width, 3))

        return Family("wide", build)

    run("killed", settings, kill_at=2, family=of_width(4))
    assert_same(
        run("killed", settings, family=of_width(6)),
        run("whole", settings, family=of_width(6)),
    )


def test_no_state_is_written_unless_asked_for_and_not_too_often(run: Make, schedule_file: Path, tmp_path: Path) -> None:
    for name, seconds in (("never", None), ("hourly", 3600.0)):
        run(name, settings_of("plain", schedule_file, state_seconds=seconds), kill_at=4)
        assert list((tmp_path / name).iterdir()) == []


def test_writing_states_changes_nothing(run: Make, schedule_file: Path) -> None:
    settings = settings_of("stn", schedule_file)
    assert_same(run("with", settings), run("without", replace(settings, state_seconds=None)))


def test_a_pruned_trial_leaves_no_state(
    make_trial: Make, make_classes: Make, dropout_family: Family, schedule_file: Path
) -> None:
    trial, _ = make_trial(PARAMS, prune_at=3)
    trial.folder.mkdir()
    with pytest.raises(TrialPruned):
        fit(trial, dropout_family, make_classes(), settings_of("stn", schedule_file), space=SPACE)
    assert list(trial.folder.iterdir()) == []


def test_a_state_handed_to_another_folder_is_continued(run: Make, schedule_file: Path, tmp_path: Path) -> None:
    settings = settings_of("delta_stn", schedule_file)
    run("killed", settings, kill_at=3)
    (tmp_path / "repeated").mkdir()
    shutil.move(tmp_path / "killed" / TRIAL_STATE, tmp_path / "repeated" / TRIAL_STATE)
    assert_same(run("repeated", settings), run("whole", settings))
