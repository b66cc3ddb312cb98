"""Activation regularization whose strength is a hyperparameter of each example.

References:
    [Merity17] Merity, McCann, Socher. Revisiting Activation Regularization for Language RNNs. arXiv 1708.01009.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from hypertune.hypernets.context import Context, ContextHook

__all__ = ["penalize_activations"]


def penalize_activations(model: nn.Module, context: Context, *, name: str, paths: Collection[str]) -> None:
    """Add ``alpha`` times the mean square of the outputs of layers to each example's loss ([Merity17] section 3).

    Args:
        model: The responding model.
        context: Where the strengths are read and the penalties go.
        name: The hyperparameter.
        paths: Layers whose outputs are penalized.
    """
    for path, module in model.named_modules():
        if path in paths:
            module.register_forward_hook(_Penalty(context, name, path))


class _Penalty(ContextHook):
    def __call__(self, module: nn.Module, args: tuple[Any, ...], outputs: Any) -> None:
        values = self.context.values
        if not module.training or values is None:
            return
        activations: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        squares = activations.float().abs().square().flatten(1).mean(dim=1)
        self.context.penalties.append(values[self.name] * squares)
