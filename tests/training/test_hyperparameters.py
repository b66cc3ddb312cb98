from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hypertune.errors import TrialError
from hypertune.records import TaskSpec
from hypertune.training.hyperparameters import HYPERPARAMETERS, TrainingHyperparameters

IMAGES = TaskSpec("images", "classification", (1, 8, 8), 10)
TABLE = TaskSpec("table", "regression", (5,), 1)


def read(params: dict[str, Any], spec: TaskSpec = IMAGES, batch_size: int = 32) -> TrainingHyperparameters:
    return TrainingHyperparameters.from_params(params, spec, batch_size=batch_size)


def test_every_hyperparameter_is_documented_in_one_line() -> None:
    assert set(HYPERPARAMETERS) == {
        *("lr", "weight_decay", "optimizer", "momentum", "batch_size", "label_smoothing", "lr_schedule"),
        *("input_noise", "shift", "rotate", "scale", "erase"),
    }
    for doc in HYPERPARAMETERS.values():
        assert doc.strip()
        assert "\n" not in doc


def test_defaults_change_nothing_about_the_data() -> None:
    made = read({"width": 16})
    assert (made.lr, made.optimizer, made.weight_decay, made.batch_size) == (1e-3, "adam", 0.0, 32)
    assert made.lr_schedule == "constant"
    assert {made.label_smoothing, made.input_noise, made.shift, made.rotate, made.scale, made.erase} == {0.0}


def test_params_win_over_the_settings_and_numbers_become_python() -> None:
    made = read({"batch_size": np.int64(7), "lr": 1, "rotate": np.float64(180.0)})
    assert (made.batch_size, made.lr, made.rotate) == (7, 1.0, 180.0)
    assert [type(value) for value in (made.batch_size, made.lr, made.rotate)] == [int, float, float]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", -1e-3),
        ("lr", math.inf),
        ("lr", math.nan),
        ("lr", "0.1"),
        ("lr", True),
        ("lr", None),
        ("weight_decay", -1e-9),
        ("optimizer", "rmsprop"),
        ("optimizer", 3),
        ("momentum", 1.0),
        ("batch_size", 0),
        ("batch_size", 16.0),
        ("batch_size", True),
        ("label_smoothing", 1.0),
        ("lr_schedule", "linear"),
        ("input_noise", -0.1),
        ("shift", 0.51),
        ("rotate", 181),
        ("scale", 0.91),
        ("erase", 0.91),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(TrialError) as caught:
        read({name: value})
    assert caught.value.where == f"params.{name}"
    assert caught.value.expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("momentum", 0.0),
        ("label_smoothing", 0.0),
        ("shift", 0.5),
        ("rotate", 180.0),
        ("scale", 0.9),
        ("erase", 0.9),
        ("batch_size", 1),
    ],
)
def test_ends_of_the_range_are_in(name: str, value: Any) -> None:
    assert getattr(read({name: value}), name) == value


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(TrialError, match="did you mean 'adamw'"):
        read({"optimizer": "admw"})


@pytest.mark.parametrize("name", ["shift", "rotate", "scale", "erase"])
def test_image_augmentation_needs_images(name: str) -> None:
    with pytest.raises(TrialError, match="images") as caught:
        read({name: 0.1}, TABLE)
    assert caught.value.where == f"params.{name}"
    assert getattr(read({name: 0.0}, TABLE), name) == 0.0


def test_label_smoothing_needs_classes() -> None:
    with pytest.raises(TrialError, match="needs classes"):
        read({"label_smoothing": 0.1}, TABLE)
    assert read({"input_noise": 0.5}, TABLE).input_noise == 0.5
