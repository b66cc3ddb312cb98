from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypertune.errors import TaskError
from hypertune.training.losses import example_losses, smooth_labels


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("strength", [0.05, 0.5, 0.95])
def test_smoothed_cross_entropy_is_torchs(strength: float) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = 5 * torch.randn(20, 7, generator=generator, dtype=torch.float64)
    targets = torch.randint(7, (20,), generator=generator)
    expected = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=strength)
    torch.testing.assert_close(smooth_labels(cross_entropy, strength)(outputs, targets), expected, rtol=1e-12, atol=0)


def test_smoothed_dense_cross_entropy_averages_over_the_places() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(4, 3, 2, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (4, 2, 5), generator=generator)

    def dense(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets).flatten(1).mean(dim=1)

    expected = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.2).mean(dim=(1, 2))
    torch.testing.assert_close(smooth_labels(dense, 0.2)(outputs, targets), expected, rtol=1e-12, atol=0)


def test_no_smoothing_is_the_loss_itself() -> None:
    assert smooth_labels(cross_entropy, 0.0) is cross_entropy


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, targets: (outputs - targets).square().mean(),
        lambda outputs, targets: (outputs - targets).square(),
        lambda outputs, targets: 0.5,
    ],
)
def test_a_loss_that_is_not_one_value_per_example_is_refused(loss: object) -> None:
    with pytest.raises(TaskError, match="per example") as caught:
        example_losses(loss, torch.zeros(3, 2), torch.zeros(3, 2))  # type: ignore[arg-type]
    assert caught.value.where == "task.loss"
