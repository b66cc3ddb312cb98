from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from hypertune.effects import catalogue
from hypertune.effects.catalogue import register_effect
from hypertune.effects.contract import Effect, Hyperparameter, Values
from hypertune.errors import HypertuneError, SpaceError, TaskError, TrialError
from hypertune.families.contract import Family
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.batches import make_batches
from hypertune.training.checkpoint import load_model
from hypertune.training.evaluate import evaluate
from hypertune.training.fit import fit, metric_names
from hypertune.training.precision import Precision
from hypertune.training.schedule import Schedule
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings
from hypertune.training.tuning_split import split_validation

Make = Callable[..., Any]

DROPOUT = {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True}
NOISE = {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True}
START = {"dropout": 0.3, "input_noise": 0.4, "lr": 0.02}
ALGORITHMS = pytest.mark.parametrize("algorithm", ["stn", "delta_stn"])


def space(**entries: Mapping[str, Any]) -> SearchSpace:
    return SearchSpace.from_mapping(entries or {"dropout": DROPOUT, "input_noise": NOISE})


def settings(
    *, epochs: int = 4, batch_size: int = 16, dtype: str = "float32", replay: str | None = None, **tuning: Any
) -> TrainingSettings:
    tuning = {"train_steps": 2, "warmup": 0.25, "replay": replay, **tuning}
    return TrainingSettings(
        device="cpu", epochs=epochs, batch_size=batch_size, dtype=dtype, self_tuning=SelfTuningSettings(**tuning)
    )


@ALGORITHMS
def test_a_trial_reports_what_it_tunes_and_ends_with_its_best_epoch(
    make_trial: Make, make_classes: Make, dropout_family: Family, algorithm: str
) -> None:
    task = make_classes()
    trial, recorder = make_trial(START)
    result = fit(trial, dropout_family, task, settings(algorithm=algorithm, epochs=5), space=space())
    assert [report.step for report in recorder.reports] == list(range(5))
    for report in recorder.reports:
        assert set(metric_names(task)) <= set(report.metrics)
        assert set(report.tuned) == {"dropout", "input_noise"}
        assert 0 <= report.tuned["dropout"] <= 0.8
        assert 0 <= report.tuned["input_noise"] <= 1
        assert report.metrics["tune/scale/dropout"] > 0
    assert all(math.isfinite(report.metrics["tune/loss"]) for report in recorder.reports[1:])
    assert recorder.reports[-1].tuned["dropout"] != pytest.approx(0.3, abs=1e-3)
    best = int(result.metrics["best_epoch"])
    assert result.value == min(report.metrics["val/loss"] for report in recorder.reports)
    assert result.value == recorder.reports[best].metrics["val/loss"]
    assert result.tuned == recorder.reports[best].tuned
    assert result.cost.gradient_steps == 5 * 6


@ALGORITHMS
def test_the_checkpoint_is_the_plain_model_with_the_reported_losses(
    make_trial: Make, make_classes: Make, dropout_family: Family, algorithm: str
) -> None:
    task: Task = make_classes()
    trial, _ = make_trial(START)
    result = fit(trial, dropout_family, task, settings(algorithm=algorithm, rank=1), space=space())
    assert result.checkpoint is not None
    model = load_model(result.checkpoint, dropout_family, task.spec)
    assert [type(module) for module in model.modules()] == [
        type(module) for module in dropout_family.build({}, task.spec).modules()
    ]
    content = torch.load(result.checkpoint, weights_only=True)
    assert content["params"] == {**START, **result.tuned}
    assert model[4].p == result.tuned["dropout"]  # type: ignore[index]
    _, selection = split_validation(task, 0.5)
    assert task.test is not None
    for split, examples in (("val", selection), ("test", task.test)):
        batches = make_batches(examples, batch_size=7)
        again = evaluate(model, batches, task, Precision("float32", torch.device("cpu")))
        assert again["loss"] == pytest.approx(result.metrics[f"{split}/loss"], rel=1e-5)
        assert again["accuracy"] == pytest.approx(result.metrics[f"{split}/accuracy"])


def _numbered(split: TensorSplit, first: int) -> TensorSplit:
    """Mark example ``i`` by its first entry, which no other example of any split has."""
    x = split.x.clone()
    x[:, 0, 0, 0] = (first + torch.arange(len(x))) / 1024
    return TensorSplit(x, split.y)


@ALGORITHMS
@pytest.mark.parametrize("own_split", [False, True])
def test_no_example_that_selects_is_ever_learned_or_tuned_on(
    make_trial: Make, make_classes: Make, algorithm: str, own_split: bool
) -> None:
    task: Task = make_classes(n=64)
    task = replace(task, train=_numbered(task.train, 0), val=_numbered(task.val, 100), test=_numbered(task.test, 200))  # type: ignore[arg-type]
    tune, selection = split_validation(task, 0.5)
    if own_split:
        tune = _numbered(make_classes(n=64, seed=5).train, 300)
        task, selection = replace(task, tune=tune), task.val
    seen: dict[bool, set[int]] = {True: set(), False: set()}

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen[torch.is_grad_enabled()].update((x[:, 0, 0, 0] * 1024).round().int().tolist())
            return x

    def build(params: Mapping[str, Any], spec: TaskSpec) -> nn.Module:
        return nn.Sequential(Spy(), nn.Flatten(), nn.Dropout(params["dropout"]), nn.Linear(36, 3))

    trial, _ = make_trial({"dropout": 0.3})
    chosen = settings(algorithm=algorithm, epochs=6, train_steps=1)
    fit(trial, Family("spied", build), task, chosen, space=space(dropout=DROPOUT))

    def numbers(split: Any) -> set[int]:
        return set((split.x[:, 0, 0, 0] * 1024).round().int().tolist())

    assert len(numbers(tune) | numbers(selection)) == len(tune) + len(selection)  # type: ignore[arg-type]
    assert seen[True] == numbers(task.train) | numbers(tune)
    assert seen[False] == numbers(selection) | numbers(task.test)


def test_nothing_is_tuned_during_the_warm_up_and_then_every_so_many_steps(
    make_trial: Make, make_classes: Make, dropout_family: Family
) -> None:
    trial, recorder = make_trial(START)
    chosen = settings(epochs=5, warmup=0.4, train_steps=4, tune_steps=2)
    fit(trial, dropout_family, make_classes(), chosen, space=space())
    start = Schedule.load(trial.folder / "schedule.csv").at(0)
    assert start == pytest.approx({"dropout": 0.3, "input_noise": 0.4}, rel=1e-6)
    for report in recorder.reports[:2]:
        assert report.tuned == start
        assert "tune/loss" not in report.metrics
    for report in recorder.reports[2:]:
        assert report.tuned != start
        assert "tune/loss" in report.metrics
    # Six steps an epoch: the warm-up is 12 of 30.
    assert Schedule.load(trial.folder / "schedule.csv").steps == (0, 16, 20, 24, 28)


@pytest.mark.parametrize(
    ("warmup", "epochs", "expected"), [(0.0, 3, 0), (0.01, 3, 1), (0.5, 4, 2), (0.99, 3, 2), (0.5, 1, 0)]
)
def test_the_warm_up_is_a_share_of_the_epochs(
    make_trial: Make, make_classes: Make, dropout_family: Family, warmup: float, epochs: int, expected: int
) -> None:
    trial, recorder = make_trial(START)
    fit(trial, dropout_family, make_classes(), settings(epochs=epochs, warmup=warmup, train_steps=1), space=space())
    assert [("tune/loss" in report.metrics) for report in recorder.reports] == [
        epoch >= expected for epoch in range(epochs)
    ]


@ALGORITHMS
def test_the_schedule_is_what_was_reported(
    make_trial: Make, make_classes: Make, dropout_family: Family, algorithm: str
) -> None:
    trial, recorder = make_trial(START)
    fit(trial, dropout_family, make_classes(), settings(algorithm=algorithm, train_steps=3), space=space())
    schedule = Schedule.load(trial.folder / "schedule.csv")
    assert schedule.names == ("dropout", "input_noise")
    assert [schedule.at(6 * (report.step + 1)) for report in recorder.reports] == [
        report.tuned for report in recorder.reports
    ]


def test_whole_numbers_end_as_whole_numbers(make_trial: Make, make_classes: Make, dropout_family: Family) -> None:
    holes = {"type": "int", "low": 0, "high": 8, "self_tune": True}
    trial, recorder = make_trial({"erase_holes": 3, "erase": 0.2, "dropout": 0.1})
    result = fit(
        trial,
        dropout_family,
        make_classes(),
        settings(train_steps=1, lr=0.5),
        space=space(erase_holes=holes, dropout={**DROPOUT, "self_tune": False}),
    )
    assert result.checkpoint is not None
    params = torch.load(result.checkpoint, weights_only=True)["params"]
    assert type(params["erase_holes"]) is int
    assert params["erase_holes"] == result.tuned["erase_holes"]
    assert set(result.tuned) == {"erase_holes"}
    assert (params["erase"], params["dropout"]) == (0.2, 0.1)
    tuned = [report.tuned["erase_holes"] for report in recorder.reports]
    assert all(value == int(value) for value in tuned)


@pytest.mark.parametrize(
    "options", [{}, {"algorithm": "delta_stn"}, {"rank": 2}, {"algorithm": "delta_stn", "rank": 1}]
)
def test_the_same_seed_gives_the_same_result(
    make_trial: Make, make_classes: Make, dropout_family: Family, options: dict[str, Any]
) -> None:
    def run(seed: int) -> Any:
        trial, recorder = make_trial({**START, "mixup": 0.2}, seed=seed)
        fit(trial, dropout_family, make_classes(), settings(epochs=3, **options), space=space())
        return [(report.metrics, report.tuned) for report in recorder.reports]

    first = run(1)
    torch.rand(7)  # what came before does not matter
    assert run(1) == first
    assert run(2) != first


@ALGORITHMS
@pytest.mark.parametrize("rank", [0, 1])
def test_bfloat16_self_tunes(
    make_trial: Make, make_classes: Make, dropout_family: Family, algorithm: str, rank: int
) -> None:
    trial, recorder = make_trial(START)
    chosen = settings(algorithm=algorithm, rank=rank, dtype="bfloat16", epochs=8, train_steps=1)
    fit(trial, dropout_family, make_classes(), chosen, space=space())
    losses = [report.metrics["val/loss"] for report in recorder.reports]
    assert min(losses) < 0.95 * losses[0]
    assert "tune/rollbacks" not in recorder.reports[-1].metrics
    assert recorder.reports[-1].tuned["dropout"] != pytest.approx(0.3, abs=1e-3)
    full, other = make_trial(START)
    fit(full, dropout_family, make_classes(), replace(chosen, dtype="float32"), space=space())
    ours = [report.metrics["train/loss"] for report in recorder.reports]
    assert ours != [report.metrics["train/loss"] for report in other.reports]
    assert ours == pytest.approx([report.metrics["train/loss"] for report in other.reports], rel=0.1)
    model = load_model(trial.folder / "best.pt", dropout_family, make_classes().spec)
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"per_example": False},
        {"antithetic": False},
        {"tune_scale": False},
        {"algorithm": "delta_stn", "linearize": False},
        {"clip": None, "entropy": 0.0},
        {"exclude": ("1",)},
        {"bind": {"dropout": "4"}},
    ],
)
def test_every_option_trains(
    make_trial: Make, make_classes: Make, dropout_family: Family, options: dict[str, Any]
) -> None:
    trial, recorder = make_trial(START)
    fit(trial, dropout_family, make_classes(), settings(train_steps=1, **options), space=space())
    assert recorder.reports[-1].tuned != recorder.reports[0].tuned
    scales = {report.metrics["tune/scale/dropout"] for report in recorder.reports}
    assert (len(scales) == 1) == (options.get("tune_scale") is False)


def test_an_l2_penalty_is_tuned(make_trial: Make, make_classes: Make, dropout_family: Family) -> None:
    decay = {"type": "float", "low": 1e-5, "high": 1.0, "log": True, "self_tune": True}
    trial, recorder = make_trial({"weight_decay": 1e-2, "optimizer": "sgd", "lr": 0.05})
    fit(trial, dropout_family, make_classes(), settings(train_steps=1), space=space(weight_decay=decay))
    assert recorder.reports[-1].tuned["weight_decay"] != pytest.approx(1e-2, rel=1e-3)


def test_a_users_effect_in_a_few_lines_is_tuned(
    make_trial: Make, make_classes: Make, linear_family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_registered", {})
    read: list[Tensor] = []

    @register_effect
    class Fade(Effect):
        hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {"fade": Hyperparameter("share taken off", high=1.0)}

        def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
            read.append(values["fade"])
            return x * (1 - values["fade"].reshape(-1, 1, 1, 1))

    trial, recorder = make_trial({"fade": 0.5})
    fit(trial, linear_family, make_classes(), TrainingSettings(device="cpu", epochs=1))
    assert torch.equal(torch.stack(read), torch.full((len(read),), 0.5))
    read.clear()
    fade = {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True}
    trial, recorder = make_trial({"fade": 0.5})
    fit(trial, linear_family, make_classes(), settings(train_steps=1), space=space(fade=fade))
    assert {value.shape for value in read} == {(16,)}
    assert len(read[-1].unique()) == 16  # every example its own
    assert recorder.reports[-1].tuned["fade"] != recorder.reports[0].tuned["fade"]


def test_tune_steps_that_are_not_finite_are_rolled_back_and_reported(
    make_trial: Make, make_classes: Make, dropout_family: Family
) -> None:
    task: Task = make_classes()
    broken = TensorSplit(torch.full((16, 1, 6, 6), math.nan), torch.zeros(16, dtype=torch.int64))
    trial, recorder = make_trial(START)
    chosen = settings(epochs=2, warmup=0.0, train_steps=3)
    result = fit(trial, dropout_family, replace(task, tune=broken), chosen, space=space())
    assert [report.metrics["tune/rollbacks"] for report in recorder.reports] == [2.0, 4.0]
    assert "tune/loss" not in recorder.reports[0].metrics
    assert result.tuned == pytest.approx({"dropout": 0.3, "input_noise": 0.4}, rel=1e-6)
    assert math.isfinite(result.value)


def test_a_value_that_ran_to_the_end_of_its_range_is_reported(
    make_trial: Make, make_classes: Make, dropout_family: Family
) -> None:
    trial, recorder = make_trial(START)
    chosen = settings(epochs=5, warmup=0.0, train_steps=1, lr=20.0, clip=None)
    fit(trial, dropout_family, make_classes(), chosen, space=space())
    edges = recorder.reports[-1].metrics.get("tune/at_edge/dropout")
    assert edges in (-1.0, 1.0)
    assert recorder.reports[-1].tuned["dropout"] == pytest.approx(0.8 if edges > 0 else 0.0, abs=0.8 * 0.005)


# ---- refusals ----


@pytest.mark.parametrize(
    ("params", "entries", "error", "message"),
    [
        (
            {"weight_decay": 0.1, "optimizer": "adamw"},
            {"weight_decay": {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True}},
            TrialError,
            r"params\.optimizer: decoupled weight decay.*adamw",
        ),
        (
            {"lr": 0.1},
            {"lr": {"type": "float", "low": 0.01, "high": 1.0, "self_tune": True}},
            SpaceError,
            r"space\.lr\.self_tune: cannot be tuned inside a trial: it changes how training proceeds",
        ),
        (
            {"dropout": 0.1},
            {"dropout": {**DROPOUT, "self_tune": False}},
            SpaceError,
            "nothing to tune.*self_tune: true",
        ),
        ({"width": 0.1}, {"width": NOISE}, SpaceError, r"space\.width\.self_tune: the model does not read it"),
        ({"shift": 0.1}, {"shift": {**NOISE, "high": 0.9}}, SpaceError, r"space\.shift: .*out of range"),
        ({"time_mask": 0.0}, {"time_mask": NOISE}, SpaceError, r"space\.time_mask: the task has no use"),
        ({"dropout": 2.0}, {"dropout": DROPOUT}, HypertuneError, "dropout"),
    ],
)
def test_what_cannot_be_tuned_is_refused_with_the_reason(
    make_trial: Make,
    make_classes: Make,
    dropout_family: Family,
    params: dict[str, Any],
    entries: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    trial, recorder = make_trial(params)
    with pytest.raises(error, match=message):
        fit(trial, dropout_family, make_classes(), settings(), space=space(**entries))
    assert recorder.reports == []


def test_self_tuning_without_a_space_is_refused(make_trial: Make, make_classes: Make, dropout_family: Family) -> None:
    trial, _ = make_trial(START)
    with pytest.raises(SpaceError, match="nothing to tune.*no space"):
        fit(trial, dropout_family, make_classes(), settings())


def test_a_validation_split_too_small_to_divide_is_refused(
    make_trial: Make, make_classes: Make, dropout_family: Family
) -> None:
    trial, _ = make_trial(START)
    with pytest.raises(TaskError, match="too few") as caught:
        fit(trial, dropout_family, make_classes(n=30), settings(), space=space())
    assert caught.value.where == "task.val"


def test_a_space_without_self_tuning_settings_trains_plainly(
    make_trial: Make, make_classes: Make, dropout_family: Family
) -> None:
    trial, recorder = make_trial(START)
    result = fit(trial, dropout_family, make_classes(), TrainingSettings(device="cpu", epochs=2), space=space())
    assert result.tuned == {}
    assert not (trial.folder / "schedule.csv").exists()
    assert all(report.tuned == {} for report in recorder.reports)
