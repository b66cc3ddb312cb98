from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from hypertune.errors import ConfigError
from hypertune.training.self_tuning_settings import ALGORITHMS, SelfTuningSettings


def test_defaults_are_valid_and_frozen() -> None:
    settings = SelfTuningSettings()
    assert settings.algorithm in ALGORITHMS
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.rank = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("algorithm", value) for value in ("STN", "hypernet", None, 1)),
        *((name, value) for name in ("train_steps", "tune_steps") for value in (0, -1, True, 1.0, "2", None)),
        *(("rank", value) for value in (-1, False, 0.0, None)),
        *(
            (name, value)
            for name in ("lr", "scale", "response_lr", "clip")
            for value in (0, -0.1, math.inf, math.nan, "1", True)
        ),
        *((name, None) for name in ("lr", "scale", "response_lr", "entropy", "warmup", "tuning_fraction")),
        *(("entropy", value) for value in (-1e-9, math.nan, math.inf, "0", True)),
        *(("warmup", value) for value in (-0.1, 1.0, 1, math.nan, True, "0")),
        *(("tuning_fraction", value) for value in (0, 0.0, 1, 1.0, -0.5, math.nan, True)),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        SelfTuningSettings(**{name: value})
    assert caught.value.where == f"trial.self_tuning.{name}"
    assert caught.value.expected


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm": "delta_stn", "warmup": 0.0, "train_steps": 1, "tune_steps": 7, "rank": 3},
        {"clip": None, "entropy": 0, "lr": 1, "scale": 1e-6, "response_lr": 100.0, "warmup": 0.999},
    ],
)
def test_ends_of_the_ranges_are_in(values: dict[str, Any]) -> None:
    settings = SelfTuningSettings(**values)
    assert {name: getattr(settings, name) for name in values} == values


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'delta_stn'"):
        SelfTuningSettings(algorithm="delta-stn")
