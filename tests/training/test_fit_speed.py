"""What the loop costs beside one written by hand; run by `make bench`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from hypertune.families.contract import Family
from hypertune.tasks.contract import TensorSplit
from hypertune.tasks.digits import digits
from hypertune.training.fit import fit
from hypertune.training.settings import TrainingSettings

EPOCHS = 10


def network() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)),
    )


def by_hand(train: TensorSplit, val: TensorSplit) -> float:
    started = time.perf_counter()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    for _ in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(train)).split(128):
            loss = functional.cross_entropy(model(train.x[chosen]), train.y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            for x, y in zip(val.x.split(256), val.y.split(256), strict=True):
                functional.cross_entropy(model(x), y).item()
    return time.perf_counter() - started


@pytest.mark.bench
def test_the_loop_costs_little_beside_one_written_by_hand(make_trial: Callable[..., Any]) -> None:
    task = digits()
    assert isinstance(task.train, TensorSplit)
    assert isinstance(task.val, TensorSplit)
    family = Family("small", lambda params, spec: network())
    bare, ours = [], []
    for _ in range(15):
        bare.append(by_hand(task.train, task.val))
        trial, _ = make_trial()
        started = time.perf_counter()
        fit(trial, family, task, TrainingSettings(epochs=EPOCHS, device="cpu"))
        ours.append(time.perf_counter() - started)
    # Other processes only ever add time: the fastest runs compare the loops, the medians also show the machine.
    ratio, typical = min(ours) / min(bare), statistics.median(ours) / statistics.median(bare)
    print(f"\nfit / by hand: fastest {ratio:.3f}, median {typical:.3f} (15 runs each of {EPOCHS} epochs)")
    assert ratio < 1.1  # test split and checkpoint included, which the loop by hand does without
