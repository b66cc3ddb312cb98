"""What publishing a study to SQLite costs, against plain ``mlflow.log_metric`` calls for the same numbers."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from hypertune.records import (
    Cost,
    Event,
    Finished,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),  # SQLAlchemy about MLflow
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType"),
]

T0 = 1_700_000_000.0
TRIALS, STEPS, BATCH = 1000, 50, 500
PLAIN = 4  # trials that are really logged call by call; the rest is extrapolated, for every trial has the same calls


def trial(number: int) -> list[Event]:
    begin = T0 + number
    reports = [
        Reported(
            number, begin + step / 100, Report(step, {"val/loss": 1 / (step + 1 + number)}, {"dropout": step / 100})
        )
        for step in range(STEPS)
    ]
    end = Finished(number, begin + 0.9, TrialResult(1.0 + number, {}, {}, Cost(STEPS, 100, 0.9)))
    return [Started(number, begin, {"lr": 0.1, "dropout": 0.2}, number), *reports, end]


def test_a_study_costs_a_tenth_of_plain_calls(tmp_path: Path) -> None:
    import mlflow

    from hypertune.tracking.mlflow import MlflowWriter

    info = StudyInfo("cost", "minimize", "val/loss", TRIALS, str(tmp_path), {"study_id": "cost"})
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    writer = MlflowWriter(uri, "ours", info)
    events = [StudyOpened(T0, info), *(event for number in range(TRIALS) for event in trial(number))]
    events.append(StudyClosed(T0 + TRIALS, True, 0, {}))
    begin = time.process_time()
    for start in range(0, len(events), BATCH):
        writer.apply(events[start : start + BATCH])
    ours = time.process_time() - begin

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("plain")
    costs = []
    for number in range(PLAIN):
        begin = time.process_time()
        with mlflow.start_run(run_name=f"trial {number}"):
            mlflow.log_params({"lr": 0.1, "dropout": 0.2})
            for step in range(STEPS):
                mlflow.log_metric("val/loss", 1 / (step + 1 + number), step=step)
                mlflow.log_metric("hp/dropout", step / 100, step=step)
            mlflow.log_metric("value", 1.0 + number)
        costs.append(time.process_time() - begin)
    mlflow.set_tracking_uri(None)
    plain = TRIALS * statistics.median(costs)
    print(
        f"\n{TRIALS} trials x {STEPS} steps x 2 series on SQLite, CPU time: published {ours:.1f} s, plain calls "
        f"{plain:.0f} s (extrapolated from the median of {PLAIN} trials, {min(costs):.2f} to {max(costs):.2f} s each): "
        f"{ours / plain:.1%}"
    )
    assert ours < 0.1 * plain
