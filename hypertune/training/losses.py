"""Losses per example as training uses them: checked, and smoothed."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hypertune.errors import TaskError
from hypertune.tasks.contract import Loss

__all__ = ["example_losses", "smooth_labels"]


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
    losses = loss(outputs, targets)
    if not isinstance(losses, Tensor) or losses.shape != targets.shape[:1]:
        raise TaskError(
            "the loss gives no value per example",
            where="task.loss",
            given=f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else losses,
            expected=f"shape ({targets.shape[0]},) for a batch of {targets.shape[0]}",
            fix="use reduction='none', and average what one example has several of",
        )
    return losses


def smooth_labels(loss: Loss, strength: float) -> Loss:
    """Return a classification loss with label smoothing.

    ``(1 - strength) * loss(outputs, targets) + strength * mean over the classes of -log_softmax(outputs)``: the second
    term is the cross-entropy with the uniform distribution (Szegedy et al. 2016, arXiv 1512.00567, section 7), so that
    for the cross-entropy it equals ``torch.nn.functional.cross_entropy(..., label_smoothing=strength)``.

    Args:
        loss: Loss of ``(batch, classes, ...)`` logits.
        strength: Share of the target spread over all classes, in [0, 1); 0 returns ``loss`` itself.
    """
    if strength == 0:
        return loss

    def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
        uniform = -functional.log_softmax(outputs, dim=1).flatten(1).mean(dim=1)
        return (1 - strength) * loss(outputs, targets) + strength * uniform

    return smoothed
