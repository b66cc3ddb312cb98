"""Your own model and data: hypertune trains it, so it needs only `build` and `task`. Config: own_model.yaml."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from torch import nn

from hypertune import TaskSpec


def build(params: dict[str, Any], task: TaskSpec) -> nn.Module:
    return nn.Sequential(
        nn.Linear(task.input_shape[0], params["hidden"]),
        nn.ReLU(),
        nn.Dropout(params["dropout"]),
        nn.Linear(params["hidden"], task.output_size),
    )


def task() -> dict[str, Any]:
    frame = load_wine(as_frame=True).frame
    columns = frame.columns.drop("target")
    # Split 60/20/20 with a fixed seed; give {"train": (x, y), "val": ..., "test": ...} to split it yourself.
    frame[columns] = StandardScaler().fit_transform(frame[columns])
    return {"data": frame, "target": "target"}
