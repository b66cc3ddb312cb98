"""Best response of linear layers and embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse
from hypertune.kernels.response_linear import response_linear

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

    def _responding(self, displacement: Tensor, *args: Any, **keywords: Any) -> Tensor:
        # Hooks on the plain layer see its own outputs, which do not exist when the response is computed with them.
        if self.rank > 1 or keywords or len(args) != 1 or not _computes_plainly(self.plain):
            return super()._responding(displacement, *args, **keywords)
        (x,) = args

        def aligned(rows: Tensor) -> Tensor:
            return self.context.align(rows, x, path=self.path, feature_axis=-1)

        return response_linear(
            x,
            self._weight,
            self._direction[0] if self.rank else None,
            self._bias,
            None,
            aligned(self._gates(displacement)[0]),
            aligned(self._shifts(displacement)) if hasattr(self.response, "shift") else None,
        )


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


def _computes_plainly(layer: nn.Module) -> bool:
    return type(layer).forward is nn.Linear.forward and not (
        layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks or layer._backward_pre_hooks
    )
