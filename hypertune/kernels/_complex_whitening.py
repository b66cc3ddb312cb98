"""Whitening of complex numbers: the inverse square root of their 2 x 2 covariance, applied to real and imaginary part.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = [
    "batch_whitening",
    "centered",
    "channels_back",
    "channels_first",
    "covariance",
    "transformed",
    "whitened",
    "whitening_matrix",
    "whitening_normalization",
]

# Planes: ``(groups, 2, n)`` real, the n complex numbers of each group with their two parts as rows. Everything then is
# a few small matrix products that read memory once: on one CPU core, forward and backward, 1.1 to 1.6 times as fast as
# elementwise arithmetic on the parts, and with the gradient below 1.4 to 2.6 times.


def batch_whitening(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return complex ``(batch, channels, ...)`` whitened by its own statistics, and those.

    Args:
        x: Complex, at least two numbers per channel.
        weight: Gamma, ``(channels, 3)``, or None.
        bias: beta, ``(channels,)``, complex, or None.
        eps: Added to the variances.

    Returns:
        A tensor like x; mean ``(channels, 2, 1)`` and covariance ``(channels, 2, 2)``.
    """
    planes = channels_first(x)
    tangent = forward_ad.unpack_dual(planes).tangent  # type: ignore[no-untyped-call]
    # Forward-mode differentiation and tracing need elementary operations.
    elementary = torch.compiler.is_compiling() or transformed() or tangent is not None
    if weight is not None and bias is not None and not elementary:
        outputs, mean, spread = whitening_normalization(planes, weight, bias, eps)
    else:
        planes, mean = centered(planes)
        spread = covariance(planes)
        outputs = whitened(planes, whitening_matrix(spread, eps), weight, bias)
    return channels_back(outputs, x), mean, spread


def transformed() -> bool:
    """Whether a transform of torch.func is active."""
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()


def channels_first(x: Tensor) -> Tensor:
    """Return complex ``(batch, channels, ...)`` as real ``(channels, 2, batch * space)``."""
    parts = torch.view_as_real(x.unsqueeze(2).flatten(2))
    return parts.permute(1, 3, 0, 2).flatten(2)


def channels_back(planes: Tensor, like: Tensor) -> Tensor:
    """Return planes as complex numbers of the shape of ``like``."""
    parts = planes.reshape(*planes.shape[:2], like.shape[0], -1).permute(2, 0, 3, 1)
    return torch.view_as_complex(parts.contiguous()).reshape(like.shape)


def centered(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(groups, 2, n)`` without its mean, and the mean ``(groups, 2, 1)``."""
    mean = planes.mean(dim=2, keepdim=True)
    return planes - mean, mean


def covariance(planes: Tensor) -> Tensor:
    """Return the covariance of centred planes ``(groups, 2, n)``, divided by n: ``(groups, 2, 2)``."""
    return torch.bmm(planes, planes.transpose(1, 2)) / planes.shape[2]


def whitening_matrix(covariances: Tensor, eps: float) -> Tensor:
    """Return ``(V + eps I)**(-1/2)``, symmetric, by the closed form of 2 x 2 matrices ([Trabelsi2018] appendix A.1).

    With ``s = sqrt(det V)`` and ``t = sqrt(trace V + 2 s)`` it is ``adj(V + s I) / (s t)``.

    Args:
        covariances: V, ``(groups, 2, 2)``, symmetric and positive semi-definite.
        eps: Above 0.
    """
    real = covariances[:, 0, 0] + eps
    imag = covariances[:, 1, 1] + eps
    cross = covariances[:, 0, 1]
    # Where the parts are nearly proportional, rounding can take the determinant below what it is at least.
    s = torch.maximum(real * imag - cross * cross, eps * (real + imag - eps)).sqrt()
    scale = 1 / (s * (real + imag + 2 * s).sqrt())
    return _symmetric((imag + s) * scale, (real + s) * scale, -cross * scale)


def whitened(planes: Tensor, whitening: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return ``Gamma W x + beta`` for centred planes.

    Args:
        planes: x, ``(groups, 2, n)``.
        whitening: W, ``(groups, 2, 2)``.
        weight: Gamma as ``(groups, 3)``: its entries rr, ii and ri; None: the identity.
        bias: beta, ``(groups,)``, complex; None: 0.
    """
    matrix = whitening if weight is None else _symmetric(*weight.unbind(1)) @ whitening
    if bias is None:
        return torch.bmm(matrix, planes)
    return torch.baddbmm(torch.view_as_real(bias).unsqueeze(2), matrix, planes)


def whitening_normalization(planes: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``Gamma V**(-1/2) (x - mean) + beta`` with statistics of the planes themselves, and the statistics.

    Its gradient is written out: all that flows back to x is ``A g + B x + c`` with 2 x 2 matrices per group, found from
    two sums over the group.

    Args:
        planes: x, ``(groups, 2, n)``.
        weight: Gamma, ``(groups, 3)``.
        bias: beta, ``(groups,)``, complex.
        eps: Added to the variances.

    Returns:
        ``(groups, 2, n)``; mean ``(groups, 2, 1)`` and covariance ``(groups, 2, 2)``, without gradient.
    """
    made: tuple[Tensor, Tensor, Tensor] = _Whitening.apply(planes, weight, bias, eps)  # type: ignore[no-untyped-call]
    return made


class _Whitening(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        x, mean = centered(planes)
        spread = covariance(x)
        whitening = whitening_matrix(spread, eps)
        ctx.save_for_backward(planes, weight, bias, mean, spread, whitening)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, spread)
        return whitened(x, whitening, weight, bias), mean, spread

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        planes, weight, bias, mean, spread, whitening = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_differentiable_gradient(ctx, planes, weight, bias, gradients[0]), None)
        x = planes - mean  # again: cheaper than to keep it
        gradient = gradients[0].contiguous()
        total = gradient.sum(dim=2, keepdim=True)
        against_x = torch.bmm(gradient, x.transpose(1, 2))
        against_whitened = against_x @ whitening
        gamma = _symmetric(*weight.unbind(1))
        with torch.enable_grad():
            statistics = spread.detach().requires_grad_()
            matrix = whitening_matrix(statistics, ctx.eps)
            (slope,) = torch.autograd.grad(matrix, statistics, gamma @ against_x)
        # The covariance is symmetric in its two off-diagonal entries, of which the closed form reads one.
        slope = (slope + slope.transpose(1, 2)) / x.shape[2]
        back = whitening @ gamma
        to_x = torch.baddbmm(back @ total / -x.shape[2], back, gradient)
        to_x = torch.baddbmm(to_x, slope, x)
        to_weight = torch.stack(
            (
                against_whitened[:, 0, 0],
                against_whitened[:, 1, 1],
                against_whitened[:, 0, 1] + against_whitened[:, 1, 0],
            ),
            dim=1,
        )
        return to_x, to_weight, torch.view_as_complex(total.squeeze(2)), None


def _differentiable_gradient(
    ctx: Any, planes: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients as functions of the inputs, for a second derivative."""
    inputs = (planes, weight, bias)
    wanted = [tensor for tensor, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    x, _ = centered(planes)
    outputs = whitened(x, whitening_matrix(covariance(x), ctx.eps), weight, bias)
    found = iter(torch.autograd.grad(outputs, wanted, gradient, create_graph=True))
    return tuple(next(found) if needed else None for needed in ctx.needs_input_grad[:3])


def _symmetric(first: Tensor, second: Tensor, off: Tensor) -> Tensor:
    """Return ``[[first, off], [off, second]]`` for each group, ``(groups, 2, 2)``."""
    return torch.stack((torch.stack((first, off), dim=-1), torch.stack((off, second), dim=-1)), dim=-2)
