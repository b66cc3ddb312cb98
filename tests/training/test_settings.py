from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from hypertune.errors import ConfigError
from hypertune.training.settings import TrainingSettings


def test_defaults_are_valid_and_frozen() -> None:
    settings = TrainingSettings()
    assert (settings.epochs, settings.batch_size, settings.metric) == (20, 128, "val/loss")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("epochs", 0, "trial.epochs"),
        ("epochs", True, "trial.epochs"),
        ("epochs", 2.5, "trial.epochs"),
        ("batch_size", 0, "trial.batch_size"),
        ("patience", 0, "trial.patience"),
        ("reserve", 1.0, "trial.reserve"),
        ("reserve", -0.1, "trial.reserve"),
        ("reserve", True, "trial.reserve"),
        ("grad_clip", 0.0, "trial.grad_clip"),
        ("grad_clip", float("nan"), "trial.grad_clip"),
        ("grad_clip", "1", "trial.grad_clip"),
        ("dtype", "float64", "trial.dtype"),
        ("direction", "up", "study.direction"),
        ("metric", "test/loss", "study.metric"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: Any, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingSettings(**{name: value})
    assert caught.value.where == where


def test_near_miss_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        TrainingSettings(dtype="bfloat")
    with pytest.raises(ConfigError, match="use val/accuracy"):
        TrainingSettings(metric="test/accuracy")
