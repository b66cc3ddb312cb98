"""Best response of convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

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
        return units.reshape(-1, *(1,) * (self.weight.dim() - 1))

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the inputs and the kernel."""
        return weight.flatten(1).sum(dim=1)

    def _products(self, *args: Tensor) -> list[Tensor]:
        layer = self.plain
        if not isinstance(layer, _ConvNd) or layer.groups > 1:
            return super()._products(*args)
        stacked = torch.cat((self.weight[None], self.direction)).flatten(0, 1)
        bias = self.bias
        nothing = {} if bias is None else {"bias": torch.cat((bias, bias.new_zeros(self.rank * len(bias))))}
        return list(self._call({"weight": stacked, **nothing}, *args).chunk(self.rank + 1, dim=self.feature_axis))


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
        weight = self.weight
        rows = units.reshape(self._groups, 1, -1).expand(-1, weight.shape[0] // self._groups, -1).flatten(0, 1)
        return rows.reshape(*weight.shape[:2], *(1,) * (weight.dim() - 2))

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the inputs of each group and the kernel."""
        grouped = weight.reshape(self._groups, weight.shape[0] // self._groups, weight.shape[1], -1)
        return grouped.sum(dim=(1, 3)).flatten()
