"""Auxiliary losses whose weight is a hyperparameter of each example."""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.hypernets.context import Context

__all__ = ["TunedAuxiliaryLoss"]


class TunedAuxiliaryLoss(nn.Module):
    """Stands in for an `AuxiliaryLoss` and reads each example's weight.

    Args:
        context: Where the weights are read and the losses go.
        name: The hyperparameter.
        path: Path of the module in its model.
    """

    def __init__(self, context: Context, *, name: str, path: str) -> None:
        super().__init__()
        self.name = name
        self.path = path
        self._context = [context]

    def forward(self, loss: Tensor) -> None:
        """Add the loss, ``(batch,)`` or a scalar, at each example's weight; only while training."""
        context = self._context[0]
        if not self.training or context.values is None:
            return
        weights = context.values[self.name]
        if loss.dim() and len(weights) > 1:
            weights = context.align(weights, loss, path=self.path)
        elif loss.dim():
            loss = loss.mean()
        context.added.append(weights * loss.to(weights.dtype))

    def restored(self, weight: float) -> nn.Module:
        """Return the plain module with a weight."""
        return AuxiliaryLoss(weight)
