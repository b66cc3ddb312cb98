"""Layers in a row, of which a complex batch normalization and the activation after it are computed together."""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.families._complex_activations import Cardioid, CReLU, ModReLU
from hypertune.families._complex_normalization import ComplexBatchNorm

__all__ = ["ComplexSequential"]

_FUSED: dict[type[nn.Module], str] = {CReLU: "crelu", ModReLU: "modrelu", Cardioid: "cardioid"}


class ComplexSequential(nn.Sequential):
    """``nn.Sequential``, with the same results and the same names in its state dict.

    Where a `ComplexBatchNorm` that normalizes by its batch is followed by an activation that can be fused, both are one
    call, which a GPU computes in one pass. Modules with hooks are called one by one, as are modules that were replaced.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers in order."""
        modules = list(self)
        position = 0
        while position < len(modules):
            layer = modules[position]
            following = modules[position + 1] if position + 1 < len(modules) else None
            if isinstance(layer, ComplexBatchNorm) and following is not None and _fusible(layer, following):
                shift = following.bias if isinstance(following, ModReLU) else None
                x = layer.normalized_by_batch(x, _FUSED[type(following)], shift)
                position += 2
            else:
                x = layer(x)
                position += 1
        return x


def _fusible(norm: ComplexBatchNorm, following: nn.Module) -> bool:
    return (
        type(norm) is ComplexBatchNorm
        and type(following) in _FUSED
        and norm.affine
        and norm.by_batch
        and not any(_has_hooks(module) for module in (norm, following))
    )


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
