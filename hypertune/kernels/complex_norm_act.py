"""Complex batch normalization and the activation after it, in one reading for the statistics and one for the rest.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypertune.errors import FamilyError, did_you_mean
from hypertune.kernels._complex_activation import cardioid, crelu, modrelu
from hypertune.kernels._complex_norm_act_gradient import gradients
from hypertune.kernels._complex_whitening import batch_whitening
from hypertune.kernels._dispatch import path, run
from hypertune.kernels._second_order import differentiable_gradients
from hypertune.kernels.contract import Kernel, Work, Workload

__all__ = ["FUSED_ACTIVATIONS", "KERNEL", "complex_norm_act"]

_NAME = "complex_norm_act"
_LARGEST_SIZE = 2**31 - 1

FUSED_ACTIVATIONS = ("none", "crelu", "modrelu", "cardioid")
"""Activations that the op knows."""


def complex_norm_act(
    x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None, activation: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``act(Gamma V**(-1/2) (x - mean) + beta)``, and mean and covariance V of each channel.

    [Trabelsi2018] section 3.5. Two kernels compute it: one reads x for the statistics, which it merges tile by tile
    without forming sums of squares, the other reads x and writes the result. Two more compute the gradients; the value
    before the activation is computed again from x, so that nothing of x's size is kept besides x itself. Sums are
    float32.

    Args:
        x: ``(batch, channels, ...)``, complex, at least two numbers per channel.
        weight: Gamma, ``(channels, 3)``: its entries rr, ii and ri.
        bias: beta, ``(channels,)``, complex.
        activation_bias: b of modReLU, ``(channels,)``, real; None with the others.
        activation: One of `FUSED_ACTIVATIONS`.
        eps: Added to the variances, above 0.

    Returns:
        A tensor like x; mean ``(channels, 2, 1)`` and covariance ``(channels, 2, 2)`` of the two parts, divided by the
        number of values, without gradient on the kernel's path.

    Raises:
        FamilyError: The activation is unknown, or has a bias where it takes none and the other way round.
    """
    _check(activation, activation_bias)
    given = (x, weight, bias) if activation_bias is None else (x, weight, bias, activation_bias)
    if path(_NAME, *given, unless=lambda: _unless(x, weight, bias, activation_bias), int64_offsets=True) == "reference":
        return _reference(x, weight, bias, activation_bias, activation, eps)
    y, statistics = _forward(
        x.resolve_conj().flatten(2) if x.dim() > 2 else x.resolve_conj().unsqueeze(2),
        weight,
        bias,
        activation_bias,
        activation,
        eps,
    )
    rr, ii, ri = statistics[:, 2:].unbind(1)
    covariance = torch.stack((torch.stack((rr, ri), dim=1), torch.stack((ri, ii), dim=1)), dim=1)
    return y.reshape(x.shape), statistics[:, :2].unsqueeze(2), covariance


def _reference(
    x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None, activation: str, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    y, mean, covariance = batch_whitening(x, weight, bias, eps)
    if activation == "crelu":
        y = crelu(y)
    elif activation == "cardioid":
        y = cardioid(y)
    elif activation_bias is not None:
        y = modrelu(y, activation_bias)
    return y, mean, covariance


def _check(activation: str, activation_bias: Tensor | None) -> None:
    if activation not in FUSED_ACTIVATIONS:
        raise FamilyError(
            "unknown activation",
            where="family.activation",
            given=activation,
            expected=f"one of {', '.join(FUSED_ACTIVATIONS)}",
            fix=did_you_mean(activation, FUSED_ACTIVATIONS),
        )
    if (activation == "modrelu") != (activation_bias is not None):
        raise FamilyError(
            "modrelu has a bias, and the other activations have none",
            where="family.activation",
            given=f"{activation} {'without' if activation_bias is None else 'with'} a bias",
        )


def _unless(x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None) -> str | None:
    real = (weight,) if activation_bias is None else (weight, activation_bias)
    if {x.dtype, bias.dtype} != {torch.complex64} or any(tensor.dtype != torch.float32 for tensor in real):
        return "a tensor is not complex64, or its real part not float32"
    if not x.numel():
        return "there is nothing to normalize"
    if 2 * x.numel() // (len(x) * x.shape[1]) > _LARGEST_SIZE or x.numel() // x.shape[1] > _LARGEST_SIZE:
        return "a channel has 2**31 numbers or more"
    return None


@torch.library.custom_op(f"hypertune::{_NAME}", mutates_args=())
def _forward(
    x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None, activation: str, eps: float
) -> tuple[Tensor, Tensor]:
    """Return ``(batch, channels, space)`` and means r, i and covariances rr, ii, ri, ``(channels, 5)``."""

    def triton_call() -> tuple[Tensor, Tensor]:
        from hypertune.kernels import _complex_norm_act_launch

        return _complex_norm_act_launch.forward(x, weight, bias, activation_bias, activation, eps)

    def reference_call() -> tuple[Tensor, Tensor]:
        y, mean, covariance = _reference(x, weight, bias, activation_bias, activation, eps)
        entries = covariance.flatten(1)
        return y.contiguous(), torch.cat((mean.squeeze(2), entries[:, :1], entries[:, 3:], entries[:, 1:2]), dim=1)

    return run(_NAME, triton_call, reference_call, x)


@_forward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None, activation: str, eps: float
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(x.shape[1], 5)


@torch.library.custom_op(f"hypertune::{_NAME}_backward", mutates_args=())
def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation_bias: Tensor | None,
    statistics: Tensor,
    activation: str,
    eps: float,
) -> list[Tensor]:
    """Return the gradients of x, weight, bias and activation bias, the last one empty where there is none."""

    def triton_call() -> list[Tensor]:
        from hypertune.kernels import _complex_norm_act_launch

        return _complex_norm_act_launch.backward(
            gradient, x, weight, bias, activation_bias, statistics, activation, eps
        )

    def reference_call() -> list[Tensor]:
        return gradients(gradient, x, weight, bias, activation_bias, statistics, activation, eps)

    return run(_NAME, triton_call, reference_call, gradient)


@_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation_bias: Tensor | None,
    statistics: Tensor,
    activation: str,
    eps: float,
) -> list[Tensor]:
    shift = weight.new_empty(0) if activation_bias is None else activation_bias.new_empty(activation_bias.shape)
    return [x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape), shift]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, weight, bias, activation_bias, ctx.activation, ctx.eps = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, weight, bias, activation_bias, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    *inputs, statistics = ctx.saved_tensors
    wants = ctx.needs_input_grad[:4]
    if torch.is_grad_enabled():
        made = differentiable_gradients(
            lambda x, w, b, s: _reference(x, w, b, s, ctx.activation, ctx.eps)[0], inputs, wants, (gradient,)
        )
    else:
        made = _backward(gradient, *inputs, statistics, ctx.activation, ctx.eps)
    return (*(tensor if want else None for tensor, want in zip(made, wants, strict=True)), None, None)


_forward.register_autograd(_differentiate, setup_context=_setup)


def _compiled() -> Sequence[Any]:
    from hypertune.kernels import _complex_norm_act_launch

    return _complex_norm_act_launch.compiled()


def _example(seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    return _arguments(seed, device, (5, 3, 7), "modrelu")


def _arguments(seed: int, device: torch.device, shape: tuple[int, ...], activation: str) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator)

    channels = shape[1]
    mixed = draw(*shape)
    x = torch.complex(mixed + 0.5, 0.7 * mixed + draw(*shape))
    weight = draw(channels, 3) * 0.3 + torch.tensor([math.sqrt(0.5), math.sqrt(0.5), 0.0])
    leaves = [x, weight, torch.complex(draw(channels), draw(channels)), draw(channels).abs() * -0.3]
    x, weight, bias, shift = (leaf.to(device).requires_grad_() for leaf in leaves)
    return x, weight, bias, shift if activation == "modrelu" else None, activation, 1e-5


def _workload(shape: tuple[int, ...], activation: str) -> Workload:
    numbers = math.prod(shape)
    size = 8 * numbers
    # PyTorch: the copy to planes (2), the mean (1), the centred planes (2), their covariance (1), whitening (2) and the
    # copy back (2), then the activation (CReLU 2; with moduli about 7); backward the activation (3 to 10), the copies
    # (4), centring (2), two sums (3) and two products of which one accumulates (5).
    extra, extra_back = {"none": (0, 0), "crelu": (2, 3), "modrelu": (7, 10), "cardioid": (7, 10)}[activation]
    launches = {"none": (0, 0), "crelu": (1, 1), "modrelu": (6, 12), "cardioid": (6, 12)}[activation]
    work = Work(
        moved=(1 + 2 + 2 + 3) * size,
        operations=80 * numbers,
        launches=4,
        eager_moved=(10 + extra + 14 + extra_back) * size,
        eager_launches=30 + launches[0] + 45 + launches[1],
    )
    text = "x".join(map(str, shape))
    return Workload(
        label=f"{text}, {activation}, complex64",
        inputs=lambda device: _arguments(0, device, shape, activation),
        work=work,
    )


def _operators(device: torch.device) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    pairs: list[tuple[Any, tuple[Any, ...]]] = []
    for activation in ("modrelu", "crelu"):
        arguments = _arguments(0, device, (4, 3, 5), activation)
        x, weight, bias, shift = (None if tensor is None else tensor.detach() for tensor in arguments[:4])
        assert x is not None
        assert weight is not None
        statistics = torch.ones_like(weight[:, :1]).repeat(1, 5)
        statistics[:, 4] = 0.1
        pairs.append((_forward, arguments))
        pairs.append((_backward, (x.clone(), x, weight, bias, shift, statistics, *arguments[4:])))
    return pairs


KERNEL = Kernel(
    name=_NAME,
    op=complex_norm_act,
    reference=_reference,
    compiled=_compiled,
    example=_example,
    workloads=(
        _workload((128, 64, 32, 32), "crelu"),
        _workload((128, 64, 32, 32), "modrelu"),
        _workload((64, 32, 1024), "cardioid"),
        _workload((256, 256), "none"),
    ),
    tolerance={torch.complex64: (2e-5, 2e-5)},
    operators=_operators,
)
