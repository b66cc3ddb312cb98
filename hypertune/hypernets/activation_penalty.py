"""Activation regularization whose strength is a hyperparameter of each example.

References:
    [Merity17] Merity, McCann, Socher. Revisiting Activation Regularization for Language RNNs. arXiv 1708.01009.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
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
        is_complex = activations.is_complex()
        if is_complex:
            activations = torch.view_as_real(activations)
        # At least single precision: squares overflow half precision early.
        if activations.dtype in (torch.float16, torch.bfloat16):
            activations = activations.float()
        strengths = values[self.name]
        if len(strengths) > 1:
            axis = 1 if getattr(module, "batch_first", True) is False else 0
            rows = self.context.examples(activations, len(strengths), path=self.path, batch_axis=axis)
        else:
            # With one strength for all the mean over the batch, ``(1,)``, is what the mean loss needs.
            rows = activations.reshape(1, -1)
        entries = rows.shape[1] // 2 if is_complex else rows.shape[1]
        self.context.penalized.append((strengths / entries).sqrt()[:, None].to(rows.dtype) * rows)
