"""Losses per example as evaluation uses them: checked, without what training adds."""

from __future__ import annotations

from torch import Tensor

from hypertune.effects.pipeline import checked_losses
from hypertune.tasks.contract import Loss

__all__ = ["example_losses"]


def example_losses(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example.

    Args:
        loss: The task's loss.
        outputs: ``(batch, output_size, ...)``.
        targets: ``(batch, ...)``.

    Returns:
        ``(batch,)``.

    Raises:
        TaskError: The loss returns another shape.
    """
    return checked_losses(loss(outputs, targets), targets)
