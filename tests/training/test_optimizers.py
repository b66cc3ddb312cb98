from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.optimizers import make_optimizer, make_schedule

LR, DECAY = 0.1, 0.3


def stepped(gradients: list[float], **values: object) -> list[float]:
    """Return a weight of 2 after each step with the given gradients."""
    weight = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = make_optimizer([weight], TrainingHyperparameters(lr=LR, **values))  # type: ignore[arg-type]
    course = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        course.append(weight.item())
    return course


def test_sgd_decays_through_the_gradient() -> None:
    assert stepped([0.5], optimizer="sgd", weight_decay=DECAY) == pytest.approx([2 - LR * (0.5 + DECAY * 2)], rel=1e-12)


def test_sgd_momentum() -> None:
    first = 2 - LR * 0.5
    expected = [first, first - LR * (0.8 * 0.5 - 1.0)]
    assert stepped([0.5, -1.0], optimizer="sgd", momentum=0.8) == pytest.approx(expected, rel=1e-12)


def test_adam_decays_through_the_gradient() -> None:
    # After bias correction the first step of Adam is lr * g / (|g| + eps).
    gradient = -0.5 + DECAY * 2
    expected = 2 - LR * gradient / (abs(gradient) + 1e-8)
    assert stepped([-0.5], optimizer="adam", weight_decay=DECAY) == pytest.approx([expected], rel=1e-12)


def test_adamw_decays_the_weight_itself() -> None:
    expected = 2 * (1 - LR * DECAY) + LR * 0.5 / (0.5 + 1e-8)
    assert stepped([-0.5], optimizer="adamw", weight_decay=DECAY) == pytest.approx([expected], rel=1e-12)


def test_momentum_is_the_first_beta_of_adam() -> None:
    gradients, beta, second = [0.5, -1.0, 2.0], 0.7, 0.999
    weight, mean, square, expected = 2.0, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, start=1):
        mean = beta * mean + (1 - beta) * gradient
        square = second * square + (1 - second) * gradient**2
        weight -= LR * (mean / (1 - beta**step)) / (math.sqrt(square / (1 - second**step)) + 1e-8)
        expected.append(weight)
    assert stepped(gradients, optimizer="adam", momentum=beta) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_complex_weights_train(optimizer: str) -> None:
    weight = nn.Parameter(torch.tensor([1 + 1j]))
    made = make_optimizer([weight], TrainingHyperparameters(optimizer=optimizer, lr=0.05, momentum=0.5))
    for _ in range(200):
        made.zero_grad()
        (weight - (3 - 2j)).abs().square().sum().backward()
        made.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([3 - 2j]), atol=0.05, rtol=0)


def test_frozen_weights_are_left_out() -> None:
    frozen, free = nn.Parameter(torch.ones(1), requires_grad=False), nn.Parameter(torch.ones(1))
    optimizer = make_optimizer([frozen, free], TrainingHyperparameters())
    assert optimizer.param_groups[0]["params"] == [free]
    with pytest.raises(FamilyError, match="no trainable parameter"):
        make_optimizer([frozen], TrainingHyperparameters())


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_schedule_follows_its_closed_form(name: str) -> None:
    weight = nn.Parameter(torch.ones(1))
    hyperparameters = TrainingHyperparameters(lr=0.2, optimizer="sgd", lr_schedule=name)
    optimizer = make_optimizer([weight], hyperparameters)
    schedule = make_schedule(optimizer, hyperparameters, epochs=8)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.2 if name == "constant" else 0.1 * (1 + math.cos(math.pi * epoch / 8)) for epoch in range(8)]
    assert rates == pytest.approx(expected, rel=1e-9)
