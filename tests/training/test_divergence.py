from __future__ import annotations

import math

import pytest
import torch

from hypertune.errors import TaskError
from hypertune.records import Cost
from hypertune.training.divergence import LossMonitor, NonFiniteLoss, diverged
from hypertune.training.trial import Diverged, TrialPruned

CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")  # only the type of device is looked at


@pytest.mark.parametrize("device", [CPU, ELSEWHERE])
def test_mean_weighs_batches_by_their_examples(device: torch.device) -> None:
    monitor = LossMonitor(device, 0)
    losses = [(1.0, 4), (2.0, 4), (7.0, 1)] * 10
    for loss, examples in losses:
        monitor.add(torch.tensor(loss), examples)
    assert monitor.mean() == pytest.approx((1 * 4 + 2 * 4 + 7) / 9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_cpu_stops_at_the_step(bad: float) -> None:
    monitor = LossMonitor(CPU, 100)
    monitor.add(torch.tensor(1.0), 2)
    with pytest.raises(NonFiniteLoss) as caught:
        monitor.add(torch.tensor(bad), 2)
    assert caught.value.step == 101


@pytest.mark.parametrize("at", [0, 5, 15, 16, 39])
def test_elsewhere_stops_soon_and_names_the_same_step(at: int) -> None:
    monitor = LossMonitor(ELSEWHERE, 100)
    added = []

    def epoch() -> None:
        for step in range(40):
            added.append(step)
            monitor.add(torch.tensor(math.nan if step >= at else 1.0), 1)
        monitor.mean()

    with pytest.raises(NonFiniteLoss) as caught:
        epoch()
    assert caught.value.step == 100 + at
    assert len(added) <= at + 16


def test_no_batch_at_all_is_an_error() -> None:
    with pytest.raises(TaskError, match="no batch"):
        LossMonitor(CPU, 0).mean()


def test_what_a_diverged_trial_raises_depends_on_whether_it_reported() -> None:
    error = NonFiniteLoss("validation", math.nan, 42)
    early = diverged(error, epoch=0, lr=0.5, cost=Cost())
    late = diverged(error, epoch=3, lr=0.5, cost=Cost(3, 42, 1.0))
    assert isinstance(early, Diverged)
    assert isinstance(late, TrialPruned)
    assert late.cost == Cost(3, 42, 1.0)
    assert str(late).startswith("diverged: ")
    for text in (str(early), str(late)):
        assert "validation loss is nan" in text
        assert "42 gradient steps" in text
        assert "lr 0.5" in text
    assert "epoch 3" in str(late)
    assert "grad_clip" in str(early)
