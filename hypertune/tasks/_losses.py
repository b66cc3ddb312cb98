"""Losses per example and metrics of the shipped tasks; all picklable, all for both devices."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hypertune.errors import TaskError
from hypertune.records import TaskKind
from hypertune.tasks.contract import Loss, Metric

__all__ = [
    "RootMeanSquaredError",
    "accuracy",
    "cross_entropy",
    "default_loss",
    "default_metrics",
    "r2",
    "squared_error",
]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each example in nats.

    Args:
        outputs: Logits, ``(batch, classes)``.
        targets: Classes, ``(batch,)``.

    Returns:
        ``(batch,)``.
    """
    return functional.cross_entropy(outputs, targets, reduction="none")


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error of each example, averaged over the targets, in the targets' squared units.

    Args:
        outputs: ``(batch, output_size)``.
        targets: ``(batch, output_size)``, or ``(batch,)`` for a single target.

    Returns:
        ``(batch,)``.

    Raises:
        TaskError: The shapes do not fit; they are never broadcast.
    """
    return (outputs - _aligned(outputs, targets)).square().flatten(1).mean(dim=1)


@dataclass(frozen=True, slots=True)
class _Accuracy:
    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the share of examples whose largest logit is the right class, in [0, 1]."""
        return self.per_example(outputs, targets).to(outputs.dtype).mean()

    def per_example(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return whether each is, ``(batch,)`` bool."""
        return outputs.argmax(dim=1) == targets


accuracy: Metric = _Accuracy()
"""Share of examples whose largest logit is the right class, in [0, 1]; shapes as for `cross_entropy`."""


def r2(outputs: Tensor, targets: Tensor) -> Tensor:
    """Coefficient of determination, at most 1, averaged over the targets; shapes as for `squared_error`.

    A target that is constant over the split has no variance to explain: it counts as 1 when predicted exactly, else
    as 0, as in scikit-learn.
    """
    aligned = _aligned(outputs, targets)
    # float64: the difference of two large sums decides.
    residual = (outputs - aligned).double().square().sum(dim=0)
    total = (aligned.double() - aligned.double().mean(dim=0)).square().sum(dim=0)
    constant = total == 0
    score = 1 - residual / total.masked_fill(constant, 1.0)
    return score.where(~constant, (residual == 0).double()).mean().to(outputs.dtype)


@dataclass(frozen=True, slots=True)
class RootMeanSquaredError:
    """Root mean squared error over a split; shapes as for `squared_error`.

    Attributes:
        scale: Standard deviation the targets were divided by, so that the result is in original units.
    """

    scale: float = 1.0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar error."""
        return squared_error(outputs, targets).mean().sqrt() * self.scale


def default_loss(kind: TaskKind) -> Loss:
    """Return cross-entropy for classification and the squared error for regression."""
    return cross_entropy if kind == "classification" else squared_error


def default_metrics(kind: TaskKind) -> dict[str, Metric]:
    """Return accuracy for classification, ``rmse`` and ``r2`` for regression."""
    return {"accuracy": accuracy} if kind == "classification" else {"rmse": RootMeanSquaredError(), "r2": r2}


def _aligned(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape == targets.shape:
        return targets.to(outputs.dtype)
    if targets.shape == outputs.shape[:1] and outputs.numel() == targets.numel():
        return targets.reshape(outputs.shape).to(outputs.dtype)
    raise TaskError(
        "outputs and targets differ in shape",
        where="task.loss",
        given=f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}",
        expected="(batch, output_size) both",
        fix="make the model's output size the number of targets",
    )
