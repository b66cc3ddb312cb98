"""A term that a model adds to its training loss, such as the load balance of a mixture or a sparsity penalty."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from hypertune.errors import FamilyError

__all__ = ["AuxiliaryLoss", "auxiliary_loss"]


class AuxiliaryLoss(nn.Module):
    """Hands a loss that arises inside a model to whatever trains the model.

    Used like dropout: the model makes one with a weight, and calls it once in its ``forward``. hypertune's training
    loop adds ``weight * loss`` to the loss it minimizes; in a self-tuning trial the weight may be tuned. In evaluation
    mode it does nothing. In a training loop of one's own, add `auxiliary_loss` after each forward pass.

    Args:
        weight: Factor of the loss, at least 0.

    Raises:
        FamilyError: The weight is negative or not finite.

    Example:
        >>> class Gated(nn.Module):
        ...     def __init__(self, sparsity: float) -> None:
        ...         super().__init__()
        ...         self.gate = nn.Linear(8, 4)
        ...         self.sparsity = AuxiliaryLoss(sparsity)
        ...
        ...     def forward(self, x: Tensor) -> Tensor:
        ...         gates = self.gate(x).sigmoid()
        ...         self.sparsity(gates.mean(dim=1))  # one loss per example, or one for the batch
        ...         return gates
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise FamilyError(
                "out of range", where="auxiliary_loss.weight", given=weight, expected="a finite number of at least 0"
            )
        self.weight = float(weight)
        self._loss: Tensor | None = None

    def forward(self, loss: Tensor) -> None:
        """Take in the loss of this forward pass.

        Args:
            loss: ``(batch,)``, one for each example, or a scalar for the batch.

        Raises:
            FamilyError: It has another number of axes.
        """
        if loss.dim() > 1:
            raise FamilyError(
                "not a loss",
                where="auxiliary_loss",
                given=f"a tensor of shape {tuple(loss.shape)}",
                expected="one loss per example, or a scalar",
                fix="take the mean over its other axes",
            )
        if self.training:
            self._loss = loss

    def take(self) -> Tensor | None:
        """Return the loss of the last forward pass, ``(batch,)`` or a scalar, and forget it; None if there is none."""
        loss, self._loss = self._loss, None
        return loss

    def __getstate__(self) -> dict[str, Any]:
        # The loss of a forward pass belongs to its graph, which neither copies nor pickles.
        return {**self.__dict__, "_loss": None}

    def extra_repr(self) -> str:
        """Return the weight."""
        return f"weight={self.weight:g}"


def auxiliary_loss(model: nn.Module) -> Tensor | None:
    """Return the weighted sum of a model's auxiliary losses in its last forward pass, a scalar, and forget them.

    Returns:
        None when the model has no auxiliary loss.
    """
    total: Tensor | None = None
    for module in model.modules():
        if isinstance(module, AuxiliaryLoss):
            loss = module.take()
            if loss is not None:
                term = module.weight * loss.mean()
                total = term if total is None else total + term
    return total
