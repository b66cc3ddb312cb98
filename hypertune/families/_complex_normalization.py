"""Complex batch and layer normalization that whiten real and imaginary part together.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from hypertune.errors import FamilyError
from hypertune.families._complex_arithmetic import check_complex, full_precision
from hypertune.kernels._complex_whitening import (
    batch_whitening,
    centered,
    channels_back,
    channels_first,
    covariance,
    transformed,
    whitened,
    whitening_matrix,
)
from hypertune.kernels.complex_norm_act import complex_norm_act

__all__ = ["ComplexBatchNorm", "ComplexLayerNorm"]


class _ComplexNorm(nn.Module, ABC):
    linear_in_input: ClassVar[bool] = False
    """For a best response: derivatives do not pass as values do."""

    def __init__(
        self,
        num_features: int,
        eps: float,
        affine: bool,
        device: torch.device | str | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        if num_features < 1:
            raise FamilyError(
                "not a size", where="family.num_features", given=num_features, expected="a whole number above 0"
            )
        self.num_features, self.eps, self.affine = num_features, eps, affine
        real = torch.empty(0, dtype=dtype).real.dtype
        self.weight = nn.Parameter(torch.empty(num_features, 3, device=device, dtype=real)) if affine else None
        self.bias = nn.Parameter(torch.empty(num_features, device=device, dtype=dtype)) if affine else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the scale to 1/sqrt(2) on the diagonal, so that outputs have E|y|^2 = 1, and the bias to 0."""
        if self.weight is not None and self.bias is not None:
            with torch.no_grad():
                self.weight[:, :2] = math.sqrt(0.5)
                self.weight[:, 2] = 0
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalize complex ``(batch, num_features, ...)``, same shape and type.

        Raises:
            FamilyError: The input is real or of another shape, or a batch has one value per channel to train on.
        """
        self._check(x)
        with full_precision(x):
            return self._normalized(x)

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Tell a best response what the channels are linear in: their three scales."""
        return "weight", 0, 1, torch.arange(self.num_features)

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        return f"{self.num_features}, eps={self.eps}, affine={self.affine}"

    @abstractmethod
    def _normalized(self, x: Tensor) -> Tensor:
        """Return the normalized input."""

    def _check(self, x: Tensor) -> None:
        check_complex(x, type(self).__name__)
        if x.dim() < 2 or x.shape[1] != self.num_features:
            raise FamilyError(
                f"{type(self).__name__} takes inputs of another shape",
                where="model.inputs",
                given=tuple(x.shape),
                expected=f"(batch, {self.num_features}, ...)",
                fix="check the layer before it",
            )


class ComplexBatchNorm(_ComplexNorm):
    """Complex batch normalization ([Trabelsi2018] section 3.5): ``y = Gamma V**(-1/2) (x - mean) + beta``.

    V is the 2 x 2 covariance of real and imaginary part of a channel over batch and space, so normalized parts are
    uncorrelated and of variance 1. Gamma is symmetric with diagonal 1/sqrt(2) at first. In evaluation mode running
    statistics take the batch's place, as in ``nn.BatchNorm2d``.

    Args:
        num_features: Channels, axis 1 of the input.
        eps: Added to the variances.
        momentum: Weight of the new batch in the running statistics; None: all batches weigh the same.
        affine: Whether to learn Gamma and beta.
        track_running_stats: Whether to keep running statistics; without, batches are always normalized by their own.
        device: Where to create the parameters.
        dtype: Complex data type of inputs and bias; the scale is real of the same precision.

    Attributes:
        weight: Gamma, ``(num_features, 3)``: its entries rr, ii and ri; or None.
        bias: beta, ``(num_features,)``, complex; or None.
        running_mean: ``(num_features,)``, complex; or None.
        running_covariance: ``(num_features, 3)``: rr, ii and ri, with n - 1 in the denominator; or None.

    Raises:
        FamilyError: ``num_features`` is below 1.
    """

    running_mean: Tensor | None
    running_covariance: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__(num_features, eps, affine, device, dtype)
        self.momentum, self.track_running_stats = momentum, track_running_stats
        real = torch.empty(0, dtype=dtype).real.dtype
        mean = spread = count = None
        if track_running_stats:
            mean = torch.zeros(num_features, device=device, dtype=dtype)
            # As the paper starts them.
            spread = torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0.0], device=device, dtype=real)
            spread = spread.repeat(num_features, 1)
            count = torch.tensor(0, device=device)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_covariance", spread)
        self.register_buffer("num_batches_tracked", count)

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        return f"{super().extra_repr()}, momentum={self.momentum}, track_running_stats={self.track_running_stats}"

    def normalized_by_batch(self, x: Tensor, activation: str = "none", activation_bias: Tensor | None = None) -> Tensor:
        """Normalize by the batch, update the running statistics in training, and apply an activation.

        Args:
            x: As for `forward`.
            activation: One of `FUSED_ACTIVATIONS`; another than ``none`` only where ``affine``.
            activation_bias: That of ``modrelu``, ``(num_features,)``.

        Raises:
            FamilyError: As for `forward`.
        """
        self._check(x)
        values = x.numel() // self.num_features
        if values < 2:
            raise FamilyError(
                "one value per channel has no covariance",
                where="model.inputs",
                given=f"{values} values per channel",
                expected="at least 2 in training",
                fix="use larger batches, or call model.eval()",
            )
        with full_precision(x):
            if self.weight is None or self.bias is None:
                outputs, mean, spread = batch_whitening(x, None, None, self.eps)
            else:
                outputs, mean, spread = complex_norm_act(
                    x, self.weight, self.bias, activation_bias, activation, self.eps
                )
            if self.training and self.running_mean is not None:
                if transformed():
                    _Tracking.apply(mean, spread, values, self)  # type: ignore[no-untyped-call]
                else:
                    self._track(mean.detach(), spread.detach(), values)
        return outputs

    @property
    def by_batch(self) -> bool:
        """Whether the batch's own statistics are in effect, not the running ones."""
        return self.training or self.running_mean is None

    def _normalized(self, x: Tensor) -> Tensor:
        if self.by_batch or self.running_mean is None or self.running_covariance is None:
            return self.normalized_by_batch(x)
        planes = channels_first(x) - torch.view_as_real(self.running_mean).unsqueeze(2)
        real, imag, cross = self.running_covariance.unbind(1)
        spread = torch.stack((torch.stack((real, cross), dim=1), torch.stack((cross, imag), dim=1)), dim=1)
        whitening = whitening_matrix(spread, self.eps)
        return channels_back(whitened(planes, whitening, self.weight, self.bias), x)

    def _track(self, mean: Tensor, spread: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_covariance is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            momentum: Any = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            # Not lerp_, which has no complex kernel for a tensor of real weights.
            now = torch.view_as_complex(mean.squeeze(2).contiguous())
            self.running_mean.add_((now - self.running_mean) * momentum)
            entries = torch.stack((spread[:, 0, 0], spread[:, 1, 1], spread[:, 0, 1]), dim=1) * (count / (count - 1))
            self.running_covariance.add_((entries - self.running_covariance) * momentum)


class ComplexLayerNorm(_ComplexNorm):
    """Complex layer normalization: each example is whitened by the mean and covariance over its channels and space.

    It is to `ComplexBatchNorm` what ``nn.GroupNorm(1, channels)`` is to ``nn.BatchNorm2d``; on ``(batch, features)`` it
    is layer normalization.

    Args:
        num_features: Channels, axis 1 of the input.
        eps: Added to the variances.
        affine: Whether to learn Gamma and beta of each channel.
        device: Where to create the parameters.
        dtype: Complex data type of inputs and bias; the scale is real of the same precision.

    Attributes:
        weight: Gamma, ``(num_features, 3)``: its entries rr, ii and ri; or None.
        bias: beta, ``(num_features,)``, complex; or None.

    Raises:
        FamilyError: ``num_features`` is below 1.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        super().__init__(num_features, eps, affine, device, dtype)

    def _normalized(self, x: Tensor) -> Tensor:
        planes, _ = centered(torch.view_as_real(x).flatten(1, -2).transpose(1, 2))
        outputs = whitened(planes, whitening_matrix(covariance(planes), self.eps), None, None)
        if self.weight is None or self.bias is None:
            return torch.view_as_complex(outputs.transpose(1, 2).contiguous()).reshape(x.shape)
        real, imag = outputs.reshape(len(x), 2, self.num_features, -1).unbind(1)
        first, second, cross = self.weight.unsqueeze(2).unbind(1)
        bias = self.bias.unsqueeze(1)
        made = torch.complex(first * real + (cross * imag + bias.real), second * imag + (cross * real + bias.imag))
        return made.reshape(x.shape)


class _Tracking(torch.autograd.Function):
    """Update running statistics inside a function transform, where only a function of its own sees plain numbers."""

    @staticmethod
    def forward(mean: Tensor, spread: Tensor, count: int, layer: ComplexBatchNorm) -> Tensor:
        layer._track(mean, spread, count)
        return mean.new_zeros(())

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: FunctionCtx, *tangents: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> tuple[None, None, None, None]:
        return None, None, None, None
