from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hypertune.errors import TaskError
from hypertune.training.losses import example_losses


def test_losses_are_the_tasks() -> None:
    outputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(6) % 3

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")

    expected = functional.nll_loss(outputs.log_softmax(dim=1), targets, reduction="none")
    torch.testing.assert_close(example_losses(loss, outputs, targets), expected)


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
