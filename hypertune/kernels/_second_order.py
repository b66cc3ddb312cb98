"""Gradients that can themselves be differentiated, for operators whose backward kernels have no derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["differentiable_gradients"]


def differentiable_gradients(
    reference: Callable[..., Tensor | tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    wants: Sequence[bool],
    gradients: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return the gradients of a function as functions of its inputs, by computing it again.

    Args:
        reference: The function, in plain PyTorch operators.
        inputs: Its tensors.
        wants: Which of them need a gradient.
        gradients: Those of its results.
    """
    with torch.enable_grad():
        # New views: an input may have been computed from another one, and that way does not belong to this function.
        views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        wanted = [view for view, want in zip(views, wants, strict=True) if want and view is not None]
        made = iter(torch.autograd.grad(reference(*views), wanted, gradients, create_graph=True))
    return [next(made) if want else None for want in wants]
