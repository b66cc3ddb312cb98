"""Best response of linear layers and embeddings."""

from __future__ import annotations

from torch import Tensor, nn

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


class EmbeddingResponse(WeightedResponse):
    """Response of ``nn.Embedding``: a gate for each column, shared by all rows."""

    linear_in_input = False
    # A batch looks up few rows of the table.
    moves_weight = False

    def __init__(self, layer: nn.Embedding, context: Context, *, size: int, rank: int, path: str) -> None:
        super().__init__(layer, context, size=size, rank=rank, path=path, units=layer.embedding_dim, feature_axis=-1)

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as ``(1, columns)``."""
        return units[None, :]

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Sum over the rows."""
        return weight.sum(dim=0)
