from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from hypertune.errors import ConfigError, FamilyError, TaskError, TrialError
from hypertune.families.contract import Family
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.training.preflight import check_model
from hypertune.training.settings import TrainingSettings

SETTINGS = TrainingSettings(device="cpu")
MakeClasses = Callable[..., Task]


def family(model: Callable[[Any], Any]) -> Family:
    return Family("mine", lambda params, task: model(params))


def flat(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, outputs))


def test_what_works_passes_and_leaves_the_random_state(make_classes: MakeClasses, linear_family: Family) -> None:
    before = torch.get_rng_state()
    check_model(linear_family, make_classes(), [{}, {"lr": 0.1}], SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


def test_batch_normalisation_and_a_single_training_example_pass(make_classes: MakeClasses) -> None:
    task = make_classes()
    assert isinstance(task.train, TensorSplit)
    one = replace(task, train=TensorSplit(task.train.x[:1], task.train.y[:1]))
    model = family(lambda params: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3)))
    check_model(model, one, [{}], SETTINGS)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (lambda params: flat(4), "wrong shape"),
        (lambda params: nn.Sequential(flat(3), nn.Flatten(0)), "wrong shape"),
        (lambda params: nn.Sequential(nn.Flatten(), nn.Linear(35, 3)), "does not run"),
        (lambda params: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "lazy"),
        (lambda params: nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(3)), "no trainable parameter"),
        (lambda params: 1 / 0, "does not build"),
    ],
)
def test_a_model_that_cannot_work(make_classes: MakeClasses, model: Callable[[Any], nn.Module], problem: str) -> None:
    with pytest.raises(FamilyError, match=problem):
        check_model(family(model), make_classes(), [{"width": 31}], SETTINGS)


def test_the_configuration_that_fails_is_named(make_classes: MakeClasses) -> None:
    with pytest.raises(FamilyError, match="'width': 31"):
        check_model(
            family(lambda params: flat(3 + params["width"] // 31)),
            make_classes(),
            [{"width": 7}, {"width": 31}],
            SETTINGS,
        )


def test_outputs_that_are_not_finite(make_classes: MakeClasses) -> None:
    def broken(params: Any) -> nn.Module:
        model = flat(3)
        nn.init.constant_(model[1].bias, math.nan)  # type: ignore[index,arg-type]
        return model

    with pytest.raises(FamilyError, match="not finite"):
        check_model(family(broken), make_classes(), [{}], SETTINGS)


def test_a_declared_shape_that_is_not_the_datas(make_classes: MakeClasses, linear_family: Family) -> None:
    task = make_classes()
    wrong = replace(task, spec=replace(task.spec, input_shape=(1, 5, 5)))
    with pytest.raises(TaskError, match=r"\(1, 6, 6\)"):
        check_model(linear_family, wrong, [{}], SETTINGS)


@pytest.mark.parametrize(
    ("loss", "problem"),
    [
        (lambda outputs, targets: outputs.mean(), "per example"),
        (
            lambda outputs, targets: nn.functional.cross_entropy(outputs, targets.float(), reduction="none"),
            "does not run",
        ),
        (lambda outputs, targets: outputs[:, 0] * math.inf, "not finite"),
    ],
)
def test_a_loss_that_cannot_work(make_classes: MakeClasses, linear_family: Family, loss: Any, problem: str) -> None:
    with pytest.raises(TaskError, match=problem):
        check_model(linear_family, replace(make_classes(), loss=loss), [{}], SETTINGS)


def test_dense_outputs_pass_when_the_loss_averages_them(make_classes: MakeClasses) -> None:
    task = make_classes()
    dense = replace(task, loss=lambda outputs, targets: outputs.square().flatten(1).mean(dim=1))
    check_model(family(lambda params: nn.Conv2d(1, 3, 1)), dense, [{}], SETTINGS)


def test_training_hyperparameters_are_checked_too(make_classes: MakeClasses, linear_family: Family) -> None:
    with pytest.raises(TrialError, match=r"params\.lr"):
        check_model(linear_family, make_classes(), [{}, {"lr": -1.0}], SETTINGS)
    with pytest.raises(TrialError, match=r"params\.shift"):
        check_model(linear_family, make_classes(shape=(36,)), [{"shift": 0.2}], SETTINGS)


def test_device_and_precision_are_checked_too(make_classes: MakeClasses, linear_family: Family) -> None:
    with pytest.raises(ConfigError, match=r"trial\.dtype"):
        check_model(linear_family, make_classes(), [{}], TrainingSettings(device="cpu", dtype="float16"))
    with pytest.raises(ConfigError, match=r"trial\.device"):
        check_model(linear_family, make_classes(), [{}], TrainingSettings(device="cuda:99"))
