"""Best response of convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse

__all__ = ["ConvolutionResponse", "TransposedConvolutionResponse"]


class ConvolutionResponse(WeightedResponse):
    """Response of ``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d``: a gate for each output channel."""

    def __init__(self, layer: _ConvNd, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(
            layer,
            context,
            size=size,
            rank=rank,
            path=path,
            units=layer.out_channels,
            feature_axis=-len(layer.kernel_size) - 1,
        )

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as ``(out, 1, 1, ...)``."""
        return units.reshape(-1, *(1,) * (self._weight.dim() - 1))

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the inputs and the kernel."""
        return weight.flatten(1).sum(dim=1)

    def _products(self, *args: Any, **keywords: Any) -> list[Tensor]:
        layer = cast("_ConvNd", self.plain)
        if layer.groups > 1:
            return super()._products(*args, **keywords)
        # Weight and directions as one convolution, which reads its inputs once.
        parameters = {"weight": torch.cat((self._weight[None], self._direction)).flatten(0, 1)}
        bias = self._bias
        if bias is not None:
            parameters["bias"] = torch.cat((bias, bias.new_zeros(self.rank * len(bias))))
        outputs = self._call(parameters, *args, **keywords)
        return list(outputs.chunk(self.rank + 1, dim=self.feature_axis))


class TransposedConvolutionResponse(WeightedResponse):
    """Response of ``nn.ConvTranspose1d``, ``2d`` and ``3d``: a gate for each output channel."""

    def __init__(self, layer: _ConvTransposeNd, context: Context, *, size: int, rank: int, path: str) -> None:
        self._groups = layer.groups
        super().__init__(
            layer,
            context,
            size=size,
            rank=rank,
            path=path,
            units=layer.out_channels,
            feature_axis=-len(layer.kernel_size) - 1,
        )

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as ``(in, out / groups, 1, ...)``: an input channel meets the outputs of its group only."""
        weight = self._weight
        rows = units.reshape(self._groups, 1, -1).expand(-1, weight.shape[0] // self._groups, -1).flatten(0, 1)
        return rows.reshape(*weight.shape[:2], *(1,) * (weight.dim() - 2))

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the inputs of each group and the kernel."""
        grouped = weight.reshape(self._groups, weight.shape[0] // self._groups, weight.shape[1], -1)
        return grouped.sum(dim=(1, 3)).flatten()
