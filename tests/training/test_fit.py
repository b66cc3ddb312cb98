from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hypertune.errors import ConfigError, FamilyError, TaskError, TrialError
from hypertune.families.contract import Family
from hypertune.records import TaskSpec
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.checkpoint import load_model
from hypertune.training.fit import fit, metric_names
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Diverged, TrialPruned

Make = Callable[..., Any]


def settings(**values: Any) -> TrainingSettings:
    return TrainingSettings(device="cpu", **values)


class CountedSplit(Dataset[Any]):
    """Targets of 10 for whatever input; counts how often an example was read."""

    def __init__(self, n: int) -> None:
        self.n, self.reads = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads += 1
        return torch.zeros(1), torch.full((1,), 10.0)


# ---- learning ----


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_linear_regression_reaches_least_squares(make_trial: Make, optimizer: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = x @ np.array([1.0, -2.0, 0.5]) + 3.0 + 0.1 * rng.normal(size=64)
    solution, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(64)]), y, rcond=None)
    split = TensorSplit(torch.from_numpy(x), torch.from_numpy(y)[:, None])

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square()[:, 0]

    task = Task(TaskSpec("line", "regression", (3,), 1), split, split, None, loss, {})
    family = Family("line", lambda params, task: nn.Linear(3, 1).double())
    trial, _ = make_trial({"optimizer": optimizer, "lr": 0.1, "lr_schedule": "cosine"})
    result = fit(trial, family, task, settings(epochs=400, batch_size=64))

    model = load_model(result.checkpoint, family, task.spec)  # type: ignore[arg-type]
    learned = torch.cat([model.weight[0], model.bias]).detach().numpy()  # type: ignore[index,list-item]
    np.testing.assert_allclose(learned, solution, rtol=0, atol=1e-6)
    residual = y - np.column_stack([x, np.ones(64)]) @ solution
    assert result.value == pytest.approx(np.mean(residual**2), rel=1e-8)


def test_classification_is_learned_and_everything_is_reported(
    make_trial: Make, make_classes: Make, linear_family: Family
) -> None:
    trial, recorder = make_trial({"lr": 0.02})
    task = make_classes(n=300)
    result = fit(trial, linear_family, task, settings(epochs=10, batch_size=32))
    assert [report.step for report in recorder.reports] == list(range(10))
    assert all(tuple(report.metrics) == metric_names(task) for report in recorder.reports)
    assert metric_names(task) == ("train/loss", "val/loss", "val/accuracy")
    assert result.metrics["test/accuracy"] > 0.8
    spread = {
        f"{split}/{name}" for split in ("val", "test") for name in ("examples", "loss_standard_error")
    }  # the metric of this task does not know its values per example
    assert set(result.metrics) == {*metric_names(task), "test/loss", "test/accuracy", "best_epoch", *spread}
    assert (result.cost.epochs, result.cost.gradient_steps) == (10, 100)
    assert result.cost.seconds > 0
    assert result.tuned == {}


def test_smoothed_labels_are_trained_on_and_not_evaluated_on(
    make_trial: Make, make_classes: Make, linear_family: Family
) -> None:
    task = make_classes(n=64)

    def run(**params: Any) -> Any:
        trial, recorder = make_trial({"lr": 1e-12, "batch_size": 64, **params})
        fit(trial, linear_family, task, settings(epochs=1))
        model = load_model(trial.folder / "best.pt", linear_family, task.spec)
        return recorder.reports[0].metrics, model(task.train.x), task.train.y

    plain, _, _ = run()
    smoothed, outputs, targets = run(label_smoothing=0.3)
    expected = functional.cross_entropy(outputs, targets, label_smoothing=0.3).item()
    assert smoothed["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert smoothed["train/loss"] != pytest.approx(plain["train/loss"], rel=1e-2)
    assert smoothed["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-5)


def test_augmentation_and_dropout_are_off_in_evaluation(
    make_trial: Make, make_classes: Make, linear_family: Family
) -> None:
    def val_loss(**params: Any) -> float:
        trial, recorder = make_trial({"lr": 1e-12, **params})
        fit(trial, linear_family, make_classes(), settings(epochs=1))
        return float(recorder.reports[0].metrics["val/loss"])

    assert val_loss(input_noise=5.0, shift=0.5, erase=0.9) == pytest.approx(val_loss(), rel=1e-6)


def test_bfloat16_trains_on_the_cpu(make_trial: Make, make_classes: Make, linear_family: Family) -> None:
    trial, recorder = make_trial({"lr": 0.02})
    fit(trial, linear_family, make_classes(), settings(epochs=5, batch_size=16, dtype="bfloat16"))
    losses = [report.metrics["val/loss"] for report in recorder.reports]
    assert losses[-1] < 0.8 * losses[0]


def test_deterministic_and_clipped_training_runs(make_trial: Make, make_classes: Make, linear_family: Family) -> None:
    trial, _ = make_trial({"lr": 1.0, "optimizer": "sgd", "momentum": 0.0})
    clip, steps = 1e-3, 6
    fit(trial, linear_family, make_classes(), settings(epochs=1, batch_size=16, grad_clip=clip, deterministic=True))
    moved = load_model(trial.folder / "best.pt", linear_family, make_classes().spec)
    trial, _ = make_trial({"lr": 1e-30, "optimizer": "sgd"})
    fit(trial, linear_family, make_classes(), settings(epochs=1))
    start = load_model(trial.folder / "best.pt", linear_family, make_classes().spec)
    distance = sum((a - b).square().sum().item() for a, b in zip(moved.parameters(), start.parameters(), strict=True))
    assert 0 < math.sqrt(distance) <= steps * clip * 1.001
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_schedule_sets_each_epochs_learning_rate(make_trial: Make, make_zero_task: Make, schedule: str) -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight.expand(len(x), 1)

    # The loss is the weight itself, so that each of the one-step epochs moves it by the learning rate.
    task = replace(make_zero_task(), loss=lambda outputs, targets: outputs[:, 0])
    trial, recorder = make_trial({"lr": 0.2, "optimizer": "sgd", "momentum": 0.0, "lr_schedule": schedule})
    fit(trial, Family("slope", lambda params, task: Slope()), task, settings(epochs=6))
    rates = [0.2 if schedule == "constant" else 0.1 * (1 + math.cos(math.pi * epoch / 6)) for epoch in range(6)]
    assert [report.metrics["val/loss"] for report in recorder.reports] == pytest.approx(-np.cumsum(rates), rel=1e-5)


@pytest.mark.parametrize("kind", ["dataset", "loader"])
def test_datasets_and_loaders_train_like_tensors(
    make_trial: Make, make_classes: Make, linear_family: Family, kind: str
) -> None:
    task = make_classes(n=64)

    def wrapped(split: TensorSplit) -> Any:
        class Plain(Dataset[Any]):
            def __len__(self) -> int:
                return len(split)

            def __getitem__(self, index: int) -> tuple[Any, int]:
                return split.x[index].double().numpy(), int(split.y[index])

        return Plain() if kind == "dataset" else DataLoader(TensorDataset(split.x, split.y), batch_size=64)

    def run(task: Task) -> Any:
        trial, _ = make_trial({"lr": 0.02})
        return fit(trial, linear_family, task, settings(epochs=4, batch_size=64)).metrics  # full batches: no order

    others = replace(task, train=wrapped(task.train), val=wrapped(task.val), test=wrapped(task.test))
    assert run(others) == pytest.approx(run(task), rel=1e-4)


# ---- which epoch ----


def test_the_best_epoch_is_kept_and_tested_once(make_trial: Make, make_zero_task: Make, scripted_family: Make) -> None:
    test = CountedSplit(6)
    task = make_zero_task(test=test)
    family = scripted_family([25.0, 9.0, 4.0, 9.0, 16.0])
    trial, recorder = make_trial()
    reads: list[int] = []
    recorder.on_report = lambda: reads.append(test.reads)
    result = fit(trial, family, task, settings(epochs=5))
    assert result.value == pytest.approx(4.0)
    assert result.metrics["best_epoch"] == 2
    assert result.metrics["val/loss"] == pytest.approx(4.0)
    assert result.metrics["test/loss"] == pytest.approx((10 - 2) ** 2)  # the network of epoch 2 says 2
    assert reads == [0] * 5
    assert test.reads == len(test)
    assert not any(name.startswith("test") for report in recorder.reports for name in report.metrics)
    assert Path(result.checkpoint) == trial.folder / "best.pt"  # type: ignore[arg-type]
    content = torch.load(trial.folder / "best.pt", weights_only=True)
    assert (content["epoch"], int(content["model"]["epochs"])) == (2, 3)


def test_reserved_examples_choose_nothing_and_are_evaluated_once(
    make_trial: Make, make_classes: Make, linear_family: Family
) -> None:
    task = make_classes()
    trial, recorder = make_trial({})
    result = fit(trial, linear_family, task, TrainingSettings(epochs=3, batch_size=16, reserve=0.25))
    n = len(task.val)
    assert result.metrics["reserved/examples"] == n // 4
    assert result.metrics["val/examples"] == n - n // 4
    assert "reserved/loss" in result.metrics
    assert not any(name.startswith("reserved") for report in recorder.reports for name in report.metrics)


def test_any_reported_metric_decides_in_its_direction(
    make_trial: Make, make_zero_task: Make, scripted_family: Make
) -> None:
    task = make_zero_task(metrics={"height": lambda outputs, targets: outputs.mean()})
    trial, _ = make_trial()
    result = fit(
        trial, scripted_family([4.0, 25.0, 9.0]), task, settings(epochs=3, metric="val/height", direction="maximize")
    )
    assert (result.value, result.metrics["best_epoch"]) == (5.0, 1)
    assert "test/loss" not in result.metrics


def test_early_stopping(make_trial: Make, make_zero_task: Make, scripted_family: Make) -> None:
    trial, recorder = make_trial()
    family = scripted_family([9.0, 4.0, 4.0, 5.0, 1.0])  # the better fifth epoch is never seen
    result = fit(trial, family, make_zero_task(), settings(epochs=5, patience=2))
    assert len(recorder.reports) == result.cost.epochs == 4
    assert result.metrics["best_epoch"] == 1


def test_pruning_ends_the_trial_with_its_cost_and_no_file(
    make_trial: Make, make_zero_task: Make, scripted_family: Make
) -> None:
    test = CountedSplit(3)
    trial, recorder = make_trial(prune_at=1)
    with pytest.raises(TrialPruned, match="epoch 1: val/loss 9") as caught:
        fit(trial, scripted_family([4.0, 9.0, 1.0]), make_zero_task(test=test), settings(epochs=3, batch_size=2))
    assert (caught.value.cost.epochs, caught.value.cost.gradient_steps) == (2, 4)
    assert caught.value.cost.seconds > 0
    assert len(recorder.reports) == 2
    assert test.reads == 0
    assert not (trial.folder / "best.pt").exists()


def test_a_trial_that_fails_in_its_test_leaves_no_file(
    make_trial: Make, make_zero_task: Make, scripted_family: Make
) -> None:
    trial, _ = make_trial()
    seen: list[bool] = []

    def picky(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append((trial.folder / "best.pt").exists())
        if len(targets) == 3:
            raise ArithmeticError("three")
        return outputs.mean()

    with pytest.raises(TaskError, match="three"):
        fit(
            trial,
            scripted_family([1.0]),
            make_zero_task(test=CountedSplit(3), metrics={"picky": picky}),
            settings(epochs=1),
        )
    assert seen == [False, True]
    assert list(trial.folder.iterdir()) == []


# ---- divergence ----


def test_a_real_divergence_before_the_first_report(make_trial: Make) -> None:
    generator = torch.Generator().manual_seed(0)
    split = TensorSplit(torch.randn(64, 3, generator=generator), torch.randn(64, 1, generator=generator))
    task = Task(TaskSpec("line", "regression", (3,), 1), split, split, None, lambda o, y: (o - y).square()[:, 0], {})
    trial, recorder = make_trial({"optimizer": "sgd", "lr": 1e20})
    with pytest.raises(Diverged, match=r"training loss is (inf|nan) in epoch 0 .* lr 1e\+20.*Fix: .*lr"):
        fit(trial, Family("line", lambda params, task: nn.Linear(3, 1)), task, settings(batch_size=4))
    assert recorder.reports == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_training_loss_stops_at_once(make_trial: Make, make_zero_task: Make, scripted_family: Make, bad: float) -> None:
    # Two steps an epoch: the second epoch's second step.
    family = scripted_family([4.0, 1.0], training_outputs=[0.0, 0.0, 0.0, bad])
    trial, recorder = make_trial({"lr": 0.125})
    with pytest.raises(TrialPruned, match=rf"diverged: the training loss is {bad} in epoch 1 after 3 .* lr 0.125"):
        fit(trial, family, make_zero_task(), settings(epochs=3, batch_size=2))
    assert len(recorder.reports) == 1


def test_validation_loss_stops_too(make_trial: Make, make_zero_task: Make, scripted_family: Make) -> None:
    trial, recorder = make_trial()
    with pytest.raises(TrialPruned, match="diverged: the validation loss is nan in epoch 1") as caught:
        fit(trial, scripted_family([4.0, math.nan]), make_zero_task(), settings(epochs=3))
    assert len(recorder.reports) == caught.value.cost.epochs == 1
    assert not (trial.folder / "best.pt").exists()
    trial, recorder = make_trial()
    with pytest.raises(Diverged, match="validation loss is nan in epoch 0"):
        fit(trial, scripted_family([math.nan]), make_zero_task(), settings(epochs=3))
    assert recorder.reports == []


def test_a_study_metric_that_is_never_a_number(make_trial: Make, make_zero_task: Make, scripted_family: Make) -> None:
    task = make_zero_task(metrics={"auc": lambda outputs, targets: math.nan})
    trial, recorder = make_trial()
    with pytest.raises(TrialError, match="never a finite number"):
        fit(trial, scripted_family([4.0, 1.0]), task, settings(epochs=2, metric="val/auc"))
    assert len(recorder.reports) == 2


# ---- errors ----


def test_an_unknown_metric_is_refused_before_training(
    make_trial: Make, make_classes: Make, linear_family: Family
) -> None:
    trial, recorder = make_trial()
    with pytest.raises(TrialError, match="did you mean 'val/accuracy'"):
        fit(trial, linear_family, make_classes(), settings(metric="val/acuracy"))
    with pytest.raises(ConfigError, match="test split"):
        fit(trial, linear_family, make_classes(), settings(metric="test/loss"))
    assert recorder.reports == []


def test_a_metric_called_loss_is_refused(make_zero_task: Make) -> None:
    with pytest.raises(TaskError, match="taken"):
        metric_names(make_zero_task(metrics={"loss": lambda outputs, targets: 0.0}))


@pytest.mark.parametrize("n", [5, 9, 1])
def test_a_lone_last_example_does_not_break_batch_normalisation(make_trial: Make, make_zero_task: Make, n: int) -> None:
    family = Family("normed", lambda params, task: nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1)))
    trial, _ = make_trial()
    if n == 1:  # nothing to normalise by at all
        with pytest.raises(ValueError, match="more than 1 value"):
            fit(trial, family, make_zero_task(n=n), settings(epochs=2, batch_size=4))
        return
    result = fit(trial, family, make_zero_task(n=n), settings(epochs=2, batch_size=4))
    assert result.cost.gradient_steps == 2 * (n // 4)


def test_a_disk_error_is_one_clear_error(
    make_trial: Make, make_zero_task: Make, scripted_family: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    trial, _ = make_trial(folder=tmp_path / "file")
    with pytest.raises(TrialError, match="checkpoint cannot be written"):
        fit(trial, scripted_family([1.0]), make_zero_task(), settings(epochs=1))


def test_out_of_memory_says_what_to_lower(make_trial: Make, make_zero_task: Make) -> None:
    class Greedy(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    trial, _ = make_trial({"width": 4096})
    with pytest.raises(TrialError, match=r"out of memory.*4096.*batch_size"):
        fit(trial, Family("greedy", lambda params, task: Greedy(nn.Linear(1, 1))), make_zero_task(), settings())


@pytest.mark.parametrize(
    ("params", "kind"),
    [({"lr": -1.0}, TrialError), ({"shift": 0.1}, TrialError), ({"label_smoothing": 0.1}, TrialError)],
)
def test_wrong_hyperparameters(
    make_trial: Make, make_zero_task: Make, scripted_family: Make, params: dict[str, Any], kind: type[Exception]
) -> None:
    trial, _ = make_trial(params)
    with pytest.raises(kind, match=f"params.{next(iter(params))}"):
        fit(trial, scripted_family([1.0]), make_zero_task(), settings())


def test_wrong_models_losses_and_splits(make_trial: Make, make_zero_task: Make, scripted_family: Make) -> None:
    trial, _ = make_trial()
    with pytest.raises(FamilyError, match="no trainable parameter"):
        fit(trial, Family("none", lambda params, task: nn.Identity()), make_zero_task(), settings())
    mean = replace(make_zero_task(), loss=lambda outputs, targets: (outputs - targets).square().mean())
    with pytest.raises(TaskError, match="per example"):
        fit(trial, scripted_family([1.0]), mean, settings())
    nothing = replace(make_zero_task(), train=DataLoader(CountedSplit(0)))
    with pytest.raises(TaskError, match="no batch"):
        fit(trial, scripted_family([1.0]), nothing, settings())


# ---- random streams ----

SCRIPT = """
import sys, torch
from torch import nn
from torch.nn import functional
from hypertune.families.contract import Family
from hypertune.records import Assignment, TaskSpec
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.fit import fit
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

torch.set_num_threads(1)
torch.rand(int(sys.argv[3]))  # whatever ran before in this process
generator = torch.Generator().manual_seed(0)
split = TensorSplit(torch.randn(50, 1, 6, 6, generator=generator), torch.randint(3, (50,), generator=generator))
loss = lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="none")
task = Task(TaskSpec("t", "classification", (1, 6, 6), 3), split, split, split, loss, {})
build = lambda params, task: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3))
params = {"shift": 0.1, "rotate": 20.0, "scale": 0.2, "erase": 0.3, "input_noise": 0.1, "label_smoothing": 0.1}
trial = Trial(Assignment(0, params, int(sys.argv[2]), sys.argv[1]), lambda report: False)
result = fit(trial, Family("t", build), task, TrainingSettings(epochs=3, batch_size=16, device="cpu"))
print(sorted((name, value.hex()) for name, value in result.metrics.items()))
"""


def test_the_same_seed_gives_the_same_bits_in_fresh_processes(tmp_path: Path) -> None:
    def start(seed: int, before: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"{seed}-{before}"), str(seed), str(before)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    outputs = []
    for process in (start(3, 0), start(3, 99)):
        outputs.append(process.communicate(timeout=120)[0])
        assert process.returncode == 0
    assert "test/loss" in outputs[0]
    assert outputs[0] == outputs[1]


class Watched(nn.Module):
    """Keeps the inputs it was trained on and the dropout masks it drew."""

    def __init__(self, draws_at_build: int) -> None:
        super().__init__()
        torch.rand(draws_at_build)
        self.linear = nn.Linear(36, 3)
        self.inputs: list[Tensor] = []
        self.masks: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.inputs.append(x.clone())
            self.masks.append(functional.dropout(torch.ones(8)))
        outputs: Tensor = self.linear(x.flatten(1))
        return outputs


def watch(make_trial: Make, task: Task, *, draws_at_build: int = 0, seed: int = 0, **params: Any) -> tuple[Any, ...]:
    targets: list[Tensor] = []
    models: list[Watched] = []

    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        if outputs.requires_grad:
            targets.append(y)
        return functional.cross_entropy(outputs, y, reduction="none")

    def build(params: Any, task: TaskSpec) -> nn.Module:
        models.append(Watched(draws_at_build))
        return models[0]

    trial, _ = make_trial(params, seed=seed)
    fit(trial, Family("watched", build), replace(task, loss=loss), settings(epochs=2, batch_size=16))
    return torch.cat(models[0].inputs), torch.cat(models[0].masks), torch.cat(targets)


def test_random_streams_do_not_shift_one_another(make_trial: Make, make_classes: Make) -> None:
    task = make_classes()
    plain_inputs, masks, order = watch(make_trial, task)
    moved_inputs, *moved = watch(make_trial, task, shift=0.2, input_noise=0.3)
    assert not torch.equal(moved_inputs, plain_inputs)
    assert torch.equal(moved[0], masks)
    assert torch.equal(moved[1], order)
    # A network that draws more while it is built changes neither order, nor augmentation, nor dropout.
    again_inputs, *again = watch(make_trial, task, shift=0.2, input_noise=0.3, draws_at_build=7)
    assert torch.equal(again_inputs, moved_inputs)
    assert torch.equal(again[0], masks)
    assert torch.equal(again[1], order)
    other_inputs, *other = watch(make_trial, task, seed=1)
    assert not torch.equal(other_inputs, plain_inputs)
    assert not torch.equal(other[0], masks)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_cuda_learns_in_every_precision(
    make_trial: Make, make_classes: Make, linear_family: Family, dtype: str
) -> None:
    trial, recorder = make_trial({"lr": 0.02, "shift": 0.1, "input_noise": 0.1})
    fit(
        trial,
        linear_family,
        make_classes(n=300),
        TrainingSettings(device="cuda", epochs=10, dtype=dtype, grad_clip=1.0),
    )
    losses = [report.metrics["val/loss"] for report in recorder.reports]
    assert losses[-1] < 0.8 * losses[0]
