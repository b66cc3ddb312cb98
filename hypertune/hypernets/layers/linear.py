"""Best response of linear layers and embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse

__all__ = ["EmbeddingResponse", "LinearResponse"]


class LinearResponse(WeightedResponse):
    """Response of ``nn.Linear``: a gate for each output unit."""

    def __init__(self, layer: nn.Linear, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(layer, context, size=size, rank=rank, path=path, units=layer.out_features, feature_axis=-1)

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as ``(out, 1)``."""
        return units[:, None]

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the inputs."""
        return weight.sum(dim=1)

    def _products(self, *args: Tensor) -> list[Tensor]:
        (x,) = args
        stacked = torch.cat((self.weight[None], self.direction)).flatten(0, 1)
        first, *others = functional.linear(x, stacked).chunk(self.rank + 1, dim=-1)
        bias = self.bias
        return [first if bias is None else first + bias, *others]


class EmbeddingResponse(WeightedResponse):
    """Response of ``nn.Embedding``: a gate for each column, shared by all rows."""

    def __init__(self, layer: nn.Embedding, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(layer, context, size=size, rank=rank, path=path, units=layer.embedding_dim, feature_axis=-1)

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as ``(1, columns)``."""
        return units[None, :]

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the rows."""
        return weight.sum(dim=0)
