"""Best response of the affine part of normalization layers; the statistics stay those of the plain layer."""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.weighted import WeightedResponse

__all__ = ["NormalizationResponse"]


class NormalizationResponse(WeightedResponse):
    """Response of batch, group, instance, layer and RMS normalization: a gate for each scale, a shift for each offset.

    ``rank`` is of no use here: a unit has a single weight, so its gate is the whole response already.

    Args:
        layer: The plain layer, with a ``weight`` and perhaps a ``bias`` of the same shape.
        context: Where the displacement of each example is read.
        size: Number of hyperparameters.
        rank: Not used.
        path: Path of the layer in its model.
    """

    def __init__(self, layer: nn.Module, context: Context, *, size: int, rank: int, path: str) -> None:
        # Layer normalization scales the trailing axes, the others the channels behind the batch.
        self._trailing = isinstance(layer, nn.LayerNorm | nn.RMSNorm)
        weight: Tensor = layer.weight  # type: ignore[assignment]
        super().__init__(
            layer,
            context,
            size=size,
            rank=0,
            path=path,
            units=weight.numel(),
            feature_axis=-1 if self._trailing else 1,
        )

    def spread(self, units: Tensor) -> Tensor:
        """Shape gates as the weight."""
        return units.reshape(self.weight.shape)

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Return the weight itself, flattened."""
        return weight.flatten()

    def _aligned(self, rows: Tensor, outputs: Tensor) -> Tensor:
        axes = self.weight.dim()
        if not self._trailing or axes == 1:
            return super()._aligned(rows, outputs)
        # Several normalized axes: align over one, then split it again.
        flat = outputs.flatten(-axes)
        aligned = self.context.align(rows.to(outputs.dtype), flat, path=self.path, feature_axis=-1)
        return aligned.reshape(*aligned.shape[:-1], *self.weight.shape)
