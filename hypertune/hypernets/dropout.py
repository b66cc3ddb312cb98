"""Dropout whose rate is a hyperparameter of each example."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from hypertune.hypernets.context import Context
from hypertune.kernels.row_dropout import row_dropout

__all__ = ["TunedDropout", "is_dropout"]

# What negative inputs saturate to in SELU networks: -alpha * lambda of Klambauer et al. 2017, arXiv 1706.02515.
_SATURATION = -1.7580993408473766
_LARGEST_RATE = 1 - 1e-4
_CHANNELWISE = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout)


def is_dropout(module: nn.Module) -> bool:
    """Whether a module is one of torch's dropout layers."""
    return isinstance(module, _DropoutNd)


class TunedDropout(nn.Module):
    """Stands in for a dropout layer and reads each example's rate.

    While training it drops with the rates in the context, and does nothing when the context has none: in a tune step
    regularization is off. In evaluation mode it does nothing.

    Args:
        layer: The layer it stands in for: ``nn.Dropout``, ``Dropout1d``, ``2d``, ``3d``, ``AlphaDropout`` or
            ``FeatureAlphaDropout``.
        context: Where the rates are read.
        name: The hyperparameter.
        path: Path of the layer in its model.
    """

    def __init__(self, layer: nn.Module, context: Context, *, name: str, path: str) -> None:
        super().__init__()
        self.layer = layer
        self.name = name
        self.path = path
        self._context = [context]
        self._channelwise = isinstance(layer, _CHANNELWISE)
        # Axes of an input without a batch, where torch's own layer accepts one.
        self._unbatched = 2 if isinstance(layer, nn.Dropout1d) else 4 if isinstance(layer, nn.Dropout3d) else None
        self._alpha = isinstance(layer, nn.AlphaDropout | nn.FeatureAlphaDropout)

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries, or whole channels, of ``(batch, ...)`` at each example's rate."""
        context = self._context[0]
        if not self.training or context.values is None:
            return x
        # In single precision until it meets the activations: a rate in bfloat16 is off by up to half a percent.
        rate = context.align(context.values[self.name], x, path=self.path).float().clamp(0, _LARGEST_RATE)
        if not self._alpha and not self._channelwise:
            return row_dropout(x, rate)
        channels = x.dim() - 1 if x.dim() == self._unbatched else x.dim() - 2
        shape = x.shape[: x.dim() - channels] + (1,) * channels if self._channelwise else x.shape
        kept = torch.rand(shape, device=x.device, dtype=torch.float32) >= rate
        if not self._alpha:
            return x * (kept / (1 - rate)).to(x.dtype)
        # Klambauer et al. 2017, section 2: an affine map keeps mean and variance.
        scale = ((1 - rate) * (1 + rate * _SATURATION**2)).rsqrt()
        offset = (-scale * rate * _SATURATION).to(x.dtype)
        return scale.to(x.dtype) * torch.where(kept, x, _SATURATION) + offset

    def restored(self, rate: float) -> nn.Module:
        """Return the plain layer with a rate."""
        layer = copy.copy(self.layer)
        layer.p = min(rate, math.nextafter(1.0, 0.0))  # type: ignore[assignment]
        return layer
