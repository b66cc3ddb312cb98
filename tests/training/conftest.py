"""Tiny tasks, trials that record, and modules whose validation loss follows a script."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.families.contract import Family
from hypertune.records import Assignment, Report, TaskSpec
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.trial import Trial


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().flatten(1).mean(dim=1)


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) == targets).float().mean()


class _Recorder:
    """Takes reports; asks for a stop at one step."""

    def __init__(self, prune_at: int | None) -> None:
        self.reports: list[Report] = []
        self.prune_at = prune_at
        self.on_report: Callable[[], None] = lambda: None

    def __call__(self, report: Report) -> bool:
        self.reports.append(report)
        self.on_report()
        return report.step == self.prune_at


class _Scripted(nn.Module):
    """In evaluation mode after ``e + 1`` epochs its outputs are ``outputs[e]``; training it changes nothing.

    ``training_outputs`` holds its outputs by training step, 0 past the end.
    """

    def __init__(self, outputs: Sequence[float], training_outputs: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.outputs, self.training_outputs = outputs, training_outputs
        self.register_buffer("epochs", torch.tensor(0))
        self.steps = 0

    def train(self, mode: bool = True) -> _Scripted:
        if mode:
            self.epochs += 1
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            value = self.outputs[int(self.epochs) - 1]
        else:
            value = self.training_outputs[self.steps] if self.steps < len(self.training_outputs) else 0.0
            self.steps += 1
        return torch.full((len(x), 1), value) + 0.0 * self.weight


@pytest.fixture
def make_trial(tmp_path: Path) -> Callable[..., tuple[Trial, _Recorder]]:
    def make(
        params: Mapping[str, Any] | None = None,
        *,
        seed: int = 0,
        prune_at: int | None = None,
        folder: Path | None = None,
    ) -> tuple[Trial, _Recorder]:
        recorder = _Recorder(prune_at)
        return Trial(Assignment(0, params or {}, seed, str(folder or tmp_path / "trial")), recorder), recorder

    return make


@pytest.fixture
def scripted_family() -> Callable[..., Family]:
    """Family by validation loss per epoch; validation targets must be 0 and the loss the squared error."""

    def make(losses: Sequence[float], training_outputs: Sequence[float] = ()) -> Family:
        outputs = [math.sqrt(loss) if loss >= 0 else loss for loss in losses]
        return Family("scripted", lambda params, task: _Scripted(outputs, training_outputs))

    return make


@pytest.fixture
def make_zero_task() -> Callable[..., Task]:
    """Regression of the constant 0, with any test split."""

    def make(*, n: int = 4, test: Any = None, metrics: Mapping[str, Any] | None = None) -> Task:
        split = TensorSplit(torch.zeros(n, 1), torch.zeros(n, 1))
        return Task(TaskSpec("zero", "regression", (1,), 1), split, split, test, _squared_error, metrics or {})

    return make


@pytest.fixture
def make_classes() -> Callable[..., Task]:
    """Classification of images by a fixed random linear rule, learnable from few examples."""

    def make(*, n: int = 96, shape: tuple[int, ...] = (1, 6, 6), classes: int = 3, seed: int = 0) -> Task:
        generator = torch.Generator().manual_seed(seed)
        rule = torch.randn(math.prod(shape), classes, generator=generator)

        def split(size: int) -> TensorSplit:
            x = torch.randn(size, *shape, generator=generator)
            return TensorSplit(x, (x.flatten(1) @ rule).argmax(dim=1))

        spec = TaskSpec("rule", "classification", shape, classes)
        return Task(spec, split(n), split(n // 2), split(n // 2), _cross_entropy, {"accuracy": _accuracy})

    return make


@pytest.fixture
def linear_family() -> Family:
    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(task.input_shape), task.output_size))

    return Family("linear", build)


@pytest.fixture
def dropout_family() -> Family:
    """One hidden layer with batch normalization and dropout; reads ``dropout``."""

    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        features = math.prod(task.input_shape)
        return nn.Sequential(
            *(nn.Flatten(), nn.Linear(features, 12), nn.BatchNorm1d(12), nn.ReLU()),
            *(nn.Dropout(params.get("dropout", 0.0)), nn.Linear(12, task.output_size)),
        )

    return Family("dropout", build)
