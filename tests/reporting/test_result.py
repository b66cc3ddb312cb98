from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypertune.records import Cost, TrialRecord
from hypertune.reporting.result import StudyResult


def study(*trials, direction="minimize"):
    return StudyResult("s", Path("f"), direction, "val/loss", True, trials)


def complete(number, value, **more):
    return TrialRecord(number, "complete", {"x": value}, value, **more)


@pytest.mark.parametrize(("direction", "best"), [("minimize", 1), ("maximize", 2)])
def test_best_is_the_first_complete_trial_with_the_best_value(direction, best):
    trials = [complete(0, 2.0), complete(1, 1.0), complete(2, 3.0), complete(3, 1.0), complete(4, 3.0)]
    assert study(*trials, TrialRecord(5, "pruned", {}, None), direction=direction).best.number == best


def test_zero_is_a_value():
    assert study(complete(0, 1.0), complete(1, 0.0)).best.number == 1


def test_no_complete_trial_no_best():
    result = study(TrialRecord(0, "failed", {}, reason="x"), TrialRecord(1, "pruned", {}))
    assert result.best is None
    assert result.to_json()["best"] is None
    assert not result.all_failed
    assert study(TrialRecord(0, "failed", {})).all_failed
    assert not study().all_failed


def test_counts_and_cost_are_sums():
    result = study(complete(0, 1.0, cost=Cost(2, 20, 1.5)), TrialRecord(1, "failed", {}, cost=Cost(1, 5, 0.25)))
    content = result.to_json()
    assert content["cost"] == {"epochs": 3, "gradient_steps": 25, "seconds": 1.75}
    assert content["counts"] == {"complete": 1, "pruned": 0, "failed": 1, "interrupted": 0, "running": 0}


def test_json_is_strict_and_leaves_out_what_is_not_there():
    odd = {"a": float("nan"), "b": float("inf"), "c": 1.0}
    content = study(
        complete(0, 1.0, metrics=odd, tuned=odd), TrialRecord(1, "failed", {}, reason="r", retry_of=0)
    ).to_json()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again["trials"][0]["metrics"] == {"a": None, "b": None, "c": 1.0}
    assert "retry_of" not in again["trials"][0]
    assert (again["trials"][1]["retry_of"], again["trials"][1]["reason"]) == (0, "r")
