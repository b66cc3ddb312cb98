from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hypertune.errors import SpaceError, TrialError
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.training.hyperparameters import HYPERPARAMETERS, TrainingHyperparameters, check_tuned_effects

IMAGES = TaskSpec("images", "classification", (1, 8, 8), 10)
TABLE = TaskSpec("table", "regression", (5,), 1)


def read(params: dict[str, Any], spec: TaskSpec = IMAGES, batch_size: int = 32) -> TrainingHyperparameters:
    return TrainingHyperparameters.from_params(params, spec, batch_size=batch_size)


def test_every_hyperparameter_is_documented_in_one_line() -> None:
    assert set(HYPERPARAMETERS) == {
        *("lr", "weight_decay", "optimizer", "momentum", "batch_size", "label_smoothing", "lr_schedule"),
        *("input_noise", "shift", "rotate", "scale", "erase", "erase_holes", "elastic", "brightness", "contrast"),
        *("time_mask", "frequency_mask", "mixup"),
    }
    assert len(HYPERPARAMETERS) == len(list(HYPERPARAMETERS))
    for doc in HYPERPARAMETERS.values():
        assert doc.strip()
        assert "\n" not in doc


def test_defaults_change_nothing_about_the_data() -> None:
    made = read({"width": 16})
    assert (made.lr, made.optimizer, made.weight_decay, made.batch_size) == (1e-3, "adam", 0.0, 32)
    assert made.lr_schedule == "constant"
    assert made.effects == {}


def test_params_win_over_the_settings_and_numbers_become_python() -> None:
    made = read({"batch_size": np.int64(7), "lr": 1, "rotate": np.float64(180.0)})
    assert (made.batch_size, made.lr, made.effects) == (7, 1.0, {"rotate": 180.0})
    assert [type(value) for value in (made.batch_size, made.lr, made.effects["rotate"])] == [int, float, float]


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
        ("erase_holes", 9),
        ("elastic", 0.51),
        ("contrast", 9.5),
        ("mixup", 1.01),
        ("mixup", True),
        ("brightness", math.nan),
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
        ("erase_holes", 8),
        ("elastic", 0.5),
        ("mixup", 1.0),
        ("brightness", 1e6),
        ("batch_size", 1),
    ],
)
def test_ends_of_the_range_are_in(name: str, value: Any) -> None:
    made = read({name: value})
    assert (made.effects[name] if name in made.effects else getattr(made, name)) == value


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(TrialError, match="did you mean 'adamw'"):
        read({"optimizer": "admw"})


@pytest.mark.parametrize("name", ["shift", "rotate", "scale", "erase", "elastic", "brightness", "contrast"])
def test_effects_on_images_need_images(name: str) -> None:
    with pytest.raises(TrialError, match="images") as caught:
        read({name: 0.1}, TABLE)
    assert caught.value.where == f"params.{name}"
    assert read({name: 0.0}, TABLE).effects[name] == 0.0


def test_effects_on_signals_need_signals() -> None:
    for name in ("time_mask", "frequency_mask"):
        with pytest.raises(TrialError, match="signals"):
            read({name: 0.1}, IMAGES)


def test_label_smoothing_needs_classes() -> None:
    with pytest.raises(TrialError, match="regression task 'table'") as caught:
        read({"label_smoothing": 0.1}, TABLE)
    assert caught.value.where == "params.label_smoothing"
    assert read({"input_noise": 0.5, "mixup": 0.5}, TABLE).effects == {"input_noise": 0.5, "mixup": 0.5}


# ---- effects tuned inside a trial ----


def space(**entries: dict[str, Any]) -> SearchSpace:
    return SearchSpace.from_mapping(
        {name: {"type": "float", "self_tune": True, **entry} for name, entry in entries.items()}
    )


def test_ranges_that_effects_are_made_for_pass() -> None:
    check_tuned_effects(
        space(
            shift={"low": 0.0, "high": 0.5},
            label_smoothing={"low": 0.0, "high": 1.0},  # the end itself is never reached
            erase_holes={"type": "int", "low": 0, "high": 8},
            dropout={"low": -3.0, "high": 7.0},  # not an effect
            elastic={"low": 0.0, "high": 5.0, "self_tune": False},  # checked value by value
        ),
        IMAGES,
    )


@pytest.mark.parametrize(
    ("entries", "spec", "where"),
    [
        ({"shift": {"low": 0.0, "high": 0.6}}, IMAGES, "space.shift"),
        ({"input_noise": {"low": -0.1, "high": 0.6}}, IMAGES, "space.input_noise"),
        ({"erase_holes": {"type": "int", "low": 0, "high": 9}}, IMAGES, "space.erase_holes"),
        ({"shift": {"low": 0.0, "high": 0.1}}, TABLE, "space.shift"),
        ({"label_smoothing": {"low": 0.0, "high": 0.1}}, TABLE, "space.label_smoothing"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(entries: dict[str, Any], spec: TaskSpec, where: str) -> None:
    with pytest.raises(SpaceError) as caught:
        check_tuned_effects(space(**entries), spec)
    assert caught.value.where == where
    assert caught.value.expected
