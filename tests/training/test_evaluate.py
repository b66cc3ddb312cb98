from __future__ import annotations

import math
from dataclasses import replace

import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from hypertune.errors import TaskError
from hypertune.records import TaskSpec
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.batches import make_batches
from hypertune.training.evaluate import evaluate
from hypertune.training.precision import Precision

PRECISION = Precision("float32", torch.device("cpu"))


@pytest.fixture
def task() -> Task:
    generator = torch.Generator().manual_seed(0)
    split = TensorSplit(torch.randn(11, 3, generator=generator), torch.randn(11, 1, generator=generator))

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().flatten(1).mean(dim=1)

    def worst(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().max()

    return Task(TaskSpec("t", "regression", (3,), 1), split, split, None, loss, {"worst": worst})


def run(task: Task, model: nn.Module, batch_size: int) -> dict[str, float]:
    return evaluate(model, make_batches(task.val, batch_size=batch_size), task, PRECISION)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_batches_do_not_change_loss_or_metrics(task: Task, batch_size: int) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    assert isinstance(task.val, TensorSplit)
    errors = (model(task.val.x) - task.val.y).detach().double()
    results = run(task, model, batch_size)
    assert results["loss"] == pytest.approx(errors.square().mean().item(), rel=1e-6)
    assert results["worst"] == pytest.approx(errors.abs().max().item(), rel=1e-6)
    assert list(results) == ["loss", "worst"]


class Positive:
    """Share of predictions above 0."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.per_example(outputs, targets).float().mean()

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs[:, 0] > 0


def test_spread_is_the_standard_error_of_each_mean_over_examples(task: Task) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    task = replace(task, metrics={**task.metrics, "positive": Positive()})
    assert isinstance(task.val, TensorSplit)
    outputs = model(task.val.x).detach()
    batches = make_batches(task.val, batch_size=4)
    results = evaluate(model, batches, task, PRECISION, spread=True)
    losses, positive = task.loss(outputs, task.val.y).double().numpy(), (outputs[:, 0] > 0).double().numpy()
    assert results["loss_standard_error"] == pytest.approx(scipy.stats.sem(losses), rel=1e-6)
    assert results["positive_standard_error"] == pytest.approx(scipy.stats.sem(positive), rel=1e-6)
    assert results["examples"] == 11
    assert "worst_standard_error" not in results
    plain = run(task, model, 4)
    assert {name: results[name] for name in plain} == plain


def test_one_example_has_no_spread(task: Task) -> None:
    assert isinstance(task.val, TensorSplit)
    one = make_batches(TensorSplit(task.val.x[:1], task.val.y[:1]), batch_size=4)
    results = evaluate(nn.Linear(3, 1), one, task, PRECISION, spread=True)
    assert set(results) == {"loss", "worst", "examples"}


def test_dropout_is_off_and_no_gradient_is_kept(task: Task) -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 1))
    model.train()
    assert run(task, model, 4) == run(task, model, 4)
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_a_failing_metric_is_named(task: Task) -> None:
    broken = replace(task, metrics={"worst": lambda outputs, targets: outputs})  # not a scalar
    with pytest.raises(TaskError) as caught:
        run(broken, nn.Linear(3, 1), 4)
    assert caught.value.where == "task.metrics.worst"


def test_a_nan_loss_is_reported_as_it_is(task: Task) -> None:
    broken = replace(task, loss=lambda outputs, targets: outputs[:, 0] * math.nan)
    assert math.isnan(run(broken, nn.Linear(3, 1), 4)["loss"])


def test_no_examples(task: Task) -> None:
    with pytest.raises(TaskError, match="no examples"):
        evaluate(nn.Linear(3, 1), [], task, PRECISION)
