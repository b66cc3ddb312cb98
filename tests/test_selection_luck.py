from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from hypertune.config import Config
from hypertune.driver.attributes import attributes_of, trial_records
from hypertune.records import Finished, TrialResult
from hypertune.reporting.result import StudyResult
from hypertune.selection_luck import selection_luck

N = 400


def spread(value: float, *splits: str, name: str = "accuracy") -> dict[str, float]:
    error = math.sqrt(value * (1 - value) / (N - 1))
    metrics = {f"{split}/{name}": value for split in splits}
    metrics |= {f"{split}/{name}_standard_error": error for split in splits}
    return metrics | {f"{split}/examples": float(N) for split in splits}


def luck(
    trials: list[tuple[float, float, Mapping[str, float]]],
    *,
    metric: str = "val/accuracy",
    sampler: str = "tpe",
    tuned: Mapping[str, float] | None = None,
    **content: Any,
) -> dict[str, Any]:
    """Of a study of ``(x, value, metrics)``."""
    study = optuna.create_study(direction="maximize")
    for x, value, metrics in trials:
        attributes = attributes_of(Finished(0, 0.0, TrialResult(value, metrics, tuned or {})))
        study.add_trial(
            create_trial(
                params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=value, user_attrs=attributes
            )
        )
    config = Config.from_mapping(
        {
            "family": "mlp",
            "task": "digits",
            "study": {"metric": metric, "direction": "maximize", "n_trials": max(len(trials), 1)},
            "sampler": sampler,
            "trial": {"epochs": 5},
            **content,
        }
    )
    result = StudyResult("s", Path("s"), "maximize", metric, True, trial_records(study.trials))
    found = selection_luck(study, result, config)
    return found["selection"] if found else {}


def test_the_test_split_certifies_the_winner() -> None:
    found = luck(
        [(0.1, 0.90, spread(0.90, "val", "test")), (0.2, 0.95, {**spread(0.95, "val"), **spread(0.93, "test")})]
    )
    assert (found["split"], found["kind"], found["candidates"]) == ("test", "clopper-pearson", 1)
    assert found["value"] == 0.95
    assert found["estimate"] == 0.93
    assert found["bound"] < 0.93
    assert found["optimism"] == pytest.approx(0.95 - found["bound"])
    assert found["statement"].startswith("val/accuracy 0.95 of trial 1 is optimistic by at most 0.0")
    assert "400 examples of the test split, at least 0.9" in found["statement"]


def test_reserved_examples_come_before_the_test_split() -> None:
    found = luck([(0.1, 0.9, spread(0.9, "val", "test", "reserved"))])
    assert found["split"] == "reserved"


def test_a_winner_that_does_better_elsewhere_is_not_optimistic() -> None:
    found = luck([(0.1, 0.8, {**spread(0.8, "val"), **spread(0.9, "test")})])
    assert found["optimism"] < 0
    assert "is not optimistic" in found["statement"]


def test_without_further_examples_only_proposals_that_looked_at_none_pay_by_a_union() -> None:
    trials = [(0.1, 0.9, spread(0.9, "val")), (0.4, 0.91, spread(0.91, "val"))]
    found = luck(trials, sampler="random")
    assert (found["split"], found["candidates"]) == ("val", 2 * 5)  # every epoch of every trial could have been chosen
    assert found["bound"] < luck([(0.1, 0.91, spread(0.91, "val", "test"))])["bound"]
    adaptive = luck(trials, sampler="tpe")
    assert "proposed after looking" in adaptive["not_certified"]
    assert "trial.reserve" in adaptive["not_certified"]
    assert "bound" not in adaptive
    assert "not_certified" in luck(trials, sampler="random", tuned={"x": 0.3})


def test_a_metric_without_values_per_example_is_not_certified() -> None:
    found = luck([(0.1, 0.9, {"val/iou": 0.9, "test/iou": 0.9})], metric="val/iou")
    assert "per_example" in found["not_certified"]


def test_an_objective_of_ones_own_brings_its_test_values() -> None:
    content = {"objective": "my_module:train", "space": {"x": {"low": 0.0, "high": 1.0}}, "family": None, "task": None}
    assert luck([(0.1, 0.9, spread(0.9, "val", "test"))], **content)["split"] == "test"
    assert "not_certified" in luck([(0.1, 0.9, spread(0.9, "val"))], sampler="random", **content)


def test_trials_within_the_noise_are_counted() -> None:
    values = [0.95, 0.945, 0.94, 0.6]
    found = luck([(i / 10, value, spread(value, "val", "test")) for i, value in enumerate(values)])
    assert found["indistinguishable"] == 2
    assert found["advice"] == "2 of 3 other trials are within the noise of the winner's value"


def test_advice_to_stop_when_the_rest_of_the_gain_is_below_the_noise() -> None:
    x = np.linspace(0, 1, 30)
    flat = [(a, 0.9 + 1e-4 * math.sin(9 * a), spread(0.9, "val", "test")) for a in x]
    found = luck(flat)
    assert found["regret_bound"] < found["standard_error"]
    assert found["advice"].startswith("stop")
    steep = [(a, 0.1 + 0.8 * a, spread(0.1 + 0.8 * a, "val", "test")) for a in x[:20] / 2]
    more = luck(steep)
    assert more["regret_bound"] > more["standard_error"]
    assert more["advice"].startswith("more trials may still gain")


def test_nothing_to_say() -> None:
    assert luck([]) == {}
    many = {"task": None, "tasks": {"items": ["digits", "wine", "digits"]}}
    assert luck([(0.1, 0.9, spread(0.9, "val", "test"))], **many) == {}
