from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects.label_smoothing import EFFECT
from hypertune.records import TaskSpec


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def smooth(outputs: Tensor, targets: Tensor, strength: float | Tensor, loss: object = cross_entropy) -> Tensor:
    losses = loss(outputs, targets)  # type: ignore[operator]
    return EFFECT.losses(losses, outputs, targets, {"label_smoothing": torch.as_tensor(strength, dtype=torch.float64)})


@pytest.mark.parametrize("strength", [0.05, 0.5, 0.95])
def test_smoothed_cross_entropy_is_torchs(strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = 5 * torch.randn(20, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (20,), generator=generator)
    expected = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=strength)
    torch.testing.assert_close(smooth(outputs, targets, strength), expected, rtol=1e-12, atol=0)


def test_each_example_has_its_own_smoothing() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = 5 * torch.randn(4, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (4,), generator=generator)
    strengths = [0.0, 0.1, 0.5, 0.9]
    expected = [
        functional.cross_entropy(outputs[i], targets[i], label_smoothing=strength)
        for i, strength in enumerate(strengths)
    ]
    torch.testing.assert_close(
        smooth(outputs, targets, torch.tensor(strengths)), torch.stack(expected), rtol=1e-6, atol=0
    )


def test_smoothed_dense_cross_entropy_averages_over_the_places() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, 2, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (4, 2, 5), generator=generator)

    def dense(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets).flatten(1).mean(dim=1)

    expected = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.2).mean(dim=(1, 2))
    torch.testing.assert_close(smooth(outputs, targets, 0.2, dense), expected, rtol=1e-12, atol=0)


def test_the_gradient_is_that_of_the_smoothed_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(5, (6,), generator=generator)
    ours = torch.autograd.grad(smooth(outputs, targets, 0.3).sum(), outputs)[0]
    # softmax - ((1 - s) onehot + s / classes), by hand
    onehot = functional.one_hot(targets, 5).double()
    torch.testing.assert_close(ours, outputs.softmax(dim=1).detach() - 0.7 * onehot - 0.3 / 5, rtol=0, atol=1e-12)


def test_regression_is_refused() -> None:
    assert EFFECT.problem(TaskSpec("t", "classification", (3,), 2)) is None
    assert "regression" in (EFFECT.problem(TaskSpec("t", "regression", (3,), 2)) or "")
