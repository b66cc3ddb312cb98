"""Tasks that configs in the tests name."""

from __future__ import annotations

import numpy as np
from torch import nn


def make(rng, rows=60):
    x = rng.standard_normal((rows, 3)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.standard_normal(rows) > 0).astype(np.int64)
    return {"train": (x[:30], y[:30]), "val": (x[30:], y[30:])}


def stream(seed, rows=60):
    rng = np.random.default_rng(seed)
    while True:
        yield make(rng, rows)


def short():
    rng = np.random.default_rng(0)
    yield from (make(rng) for _ in range(5))


def listed():
    rng = np.random.default_rng(0)
    return [make(rng) for _ in range(12)]


def breaks():
    rng = np.random.default_rng(0)
    yield make(rng)
    yield make(rng)
    raise OSError("the disk is gone")


EVERY = listed()
WRONG = [make(np.random.default_rng(0)), "no task", make(np.random.default_rng(1))]
NUMBER = 3


def build(params, task):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, params["hidden"]), nn.ReLU(), nn.Linear(params["hidden"], 2))


class Fussy(nn.Module):
    """Fails on data like those of one task."""

    def __init__(self, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3, hidden), nn.ReLU(), nn.Linear(hidden, 2))

    def forward(self, x):
        if float(x[0, 0]) > 100:
            raise RuntimeError("this one is broken")
        return self.net(x)


def fussy(params, task):
    return Fussy(params["hidden"])


def with_a_broken_one():
    tasks = listed()
    tasks[4]["train"][0][:] += 1000
    return iter(tasks)
