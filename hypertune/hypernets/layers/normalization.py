"""Best response of the affine part of normalization layers; the statistics stay those of the plain layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

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

    linear_in_input = False

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
        return units.reshape(self._weight.shape)

    def unit_sums(self, weight: Tensor) -> Tensor:
        """Return the weight itself, flattened."""
        return weight.flatten()

    def _aligned(self, rows: Tensor, outputs: Tensor) -> Tensor:
        axes = self._weight.dim()
        if not self._trailing or axes == 1:
            return super()._aligned(rows, outputs)
        # Several normalized axes: align over one, then split it again.
        flat = outputs.flatten(-axes)
        aligned = self.context.align(rows.to(outputs.dtype), flat, path=self.path, feature_axis=-1)
        return aligned.reshape(*aligned.shape[:-1], *self._weight.shape)

    def _carried(self, *args: Any, **keywords: Any) -> Tensor:
        layer = self.plain
        (x,) = (*args, *keywords.values())
        at, along = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
        batch_statistics = isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
        if along is None or not batch_statistics or at.requires_grad:
            return super()._carried(*args, **keywords)
        assert isinstance(layer, _BatchNorm)
        if layer.training and layer.track_running_stats:
            layer(at)  # for its running statistics
        outputs, mean, inverse = torch.native_batch_norm(at, layer.weight, layer.bias, None, None, True, 0.0, layer.eps)
        slope = _NormalizedSlope.apply(along, at, layer.weight, mean, inverse, layer.eps)  # type: ignore[no-untyped-call]
        made: Tensor = forward_ad.make_dual(outputs, slope)  # type: ignore[no-untyped-call]
        return made

    def _call(self, parameters: dict[str, Tensor], *args: Any, **keywords: Any) -> Tensor:
        layer = self.plain
        tracks = isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
        if not (tracks and torch._C._are_functorch_transforms_active()):
            return super()._call(parameters, *args, **keywords)
        # Inside a function transform, such as forward-mode differentiation, torch's own layer may not change buffers.
        (x,) = (*args, *keywords.values())
        assert isinstance(layer, _BatchNorm)
        _TrackStatistics.apply(x, layer)  # type: ignore[no-untyped-call]
        affine = {**dict(layer.named_parameters()), **parameters}
        return functional.batch_norm(x, None, None, affine["weight"], affine["bias"], True, 0.0, layer.eps)


class _NormalizedSlope(torch.autograd.Function):
    """Derivative of batch normalization along a direction of its inputs, at fixed inputs.

    The Jacobian of ``(x - mean) / std`` is symmetric, ``(I - 1/m - xhat xhat^T / m) / std`` within a channel: the
    kernel of torch's backward pass also carries directions forward, and back again. Torch's own forward-mode rule
    takes a dozen passes over the activations.
    """

    @staticmethod
    def forward(
        ctx: Any, along: Tensor, at: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(at, weight, mean, inverse)
        ctx.eps = eps
        return _carry(along, at, weight, mean, inverse, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        at, weight, mean, inverse = ctx.saved_tensors
        return _carry(gradient, at, weight, mean, inverse, ctx.eps), None, None, None, None, None


def _carry(along: Tensor, at: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, eps: float) -> Tensor:
    carried: Tensor = torch.ops.aten.native_batch_norm_backward(
        along, at, weight, None, None, mean, inverse, True, eps, [True, False, False]
    )[0]
    return carried


class _TrackStatistics(torch.autograd.Function):
    """Update a layer's running statistics; run as a function of its own, it sees the primal inputs."""

    @staticmethod
    def forward(x: Tensor, layer: _BatchNorm) -> Tensor:
        counter = layer.num_batches_tracked
        assert counter is not None
        counter.add_(1)
        momentum = 1 / float(counter) if layer.momentum is None else layer.momentum
        functional.batch_norm(x, layer.running_mean, layer.running_var, None, None, True, momentum, layer.eps)
        return x.new_zeros(())

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[None, None]:
        return None, None
