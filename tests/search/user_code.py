"""A user's module: objectives, models and tasks that configs in the tests name.

torch takes longer to import than most of these searches, so that only what needs it does.
"""

from __future__ import annotations

import math
import time

from hypertune import TrialResult
from hypertune.training.trial import TrialPruned


def quadratic(trial):
    value = (trial.params["x"] - 0.3) ** 2
    trial.report(0, {"value": value})
    return value


def with_details(trial):
    for step in range(3):
        trial.report(step, {"value": trial.params["x"] + step, "train/loss": 0.5}, {"x": 0.1 * step})
    return TrialResult(trial.params["x"], {"test/loss": trial.params["x"] + 1}, {"x": 0.2})


def slow(trial):
    for step in range(12):
        time.sleep(0.1)
        trial.report(step, {"value": trial.params["x"]})
    return trial.params["x"]


def sleeps(trial):
    time.sleep(600)


def raises(trial):
    raise ValueError("this objective always fails")


def prunes(trial):
    raise TrialPruned("no use")


def build(params, task):
    from torch import nn

    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(task.input_shape), params.get("hidden", 8)),
        nn.ReLU(),
        nn.Dropout(params.get("p", 0.0)),
        nn.Linear(params.get("hidden", 8), task.output_size),
    )


def build_number(params, task):
    return 3


def build_raises(params, task):
    raise RuntimeError("cannot build that")


def build_wrong_size(params, task):
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(task.input_shape), task.output_size + 1))


def build_picky(params, task):
    if params["hidden"] > 12:
        raise ValueError("hidden must be at most 12")
    return build(params, task)


def task(n=120):
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
    third = n // 3
    return {
        "train": (x[:third], y[:third]),
        "val": (x[third : 2 * third], y[third : 2 * third]),
        "test": (x[2 * third :], y[2 * third :]),
    }
