"""Message passing between vertices and soft hyperedges, without the matrix of their participations.

References:
    [Lei2025] Lei et al. SoftHGNN: Soft Hypergraph Neural Networks for General Visual Recognition. IJCV 2026, arXiv
        2505.15325.
    [Dao2022] Dao et al. FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness. NeurIPS 2022,
        arXiv 2205.14135.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.kernels._dispatch import path, run
from hypertune.kernels._philox import uniform
from hypertune.kernels._second_order import differentiable_gradients
from hypertune.kernels.contract import Kernel, Work, Workload

__all__ = ["KERNEL", "Participation", "soft_hyperedge"]

_NAME = "soft_hyperedge"
_WIDEST = {torch.float32: 128, torch.bfloat16: 256, torch.float16: 256}
_LARGEST_SIZE = 2**31 - 1


class Participation(Protocol):
    """How much each vertex belongs to each hyperedge; one number per pair, which need not be stored."""

    def spread(self, values: Tensor) -> Tensor:
        """Return what each vertex gets from its hyperedges, ``(batch, N, D)``, for their values ``(batch, M, D)``."""


def soft_hyperedge(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, dropout: nn.Module
) -> tuple[Tensor, Participation]:
    """Return the features that hyperedges gather, ``A x`` with ``A = softmax over vertices of dropout(P x')``, and A.

    [Lei2025] eq. 5 to 7. The kernels pass over the vertices with a running maximum and sum, as [Dao2022] does for
    attention, and compute the participations again in the backward pass and in the second direction: memory grows with
    N + M, not with their product. With a selection only the selected prototypes are read. Sums are float32.

    Dropout is part of the kernels where it is a plain ``nn.Dropout``; its numbers then come from a seed drawn from
    torch's generator, so they are others than on the reference path. Any other module, such as dropout with rates that
    are tuned, is called with the similarities, which then exist.

    Args:
        prototypes: P, scaled, ``(batch, all, D)``.
        x: Vertices, ``(batch, N, D)``.
        selected: Prototypes that each example uses, each once, ``(batch, M)``, int64; None: all.
        dropout: Applied to the similarities ``(batch, M, N)``.

    Returns:
        Features ``(batch, M, D)``, and the participations for the way back.
    """
    given = (prototypes, x) if selected is None else (prototypes, x, selected)
    if path(_NAME, *given, unless=lambda: _unless(prototypes, x, selected, dropout), int64_offsets=True) == "reference":
        picked = _picked(prototypes, selected)
        # Hyperedges come before vertices: the softmax runs along the last axis, and no product needs a transposed copy.
        matrix = functional.softmax(dropout(picked @ x.mT), dim=2)
        return matrix @ x, _Stored(matrix)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        prototypes, x = prototypes.to(dtype), x.to(dtype)
    rate = float(dropout.p) if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    # A seed that stays on the device: reading it would make the host wait.
    seed = torch.randint(2**62, (1,), device=x.device) if rate else None
    features, log_normalizer = _gather(prototypes, x, selected, seed, rate)
    return features, _Streamed(prototypes, x, selected, seed, rate, log_normalizer)


@dataclass(frozen=True, slots=True)
class _Stored:
    matrix: Tensor

    def spread(self, values: Tensor) -> Tensor:
        return self.matrix.mT @ values


@dataclass(frozen=True, slots=True)
class _Streamed:
    prototypes: Tensor
    x: Tensor
    selected: Tensor | None
    seed: Tensor | None
    rate: float
    log_normalizer: Tensor

    def spread(self, values: Tensor) -> Tensor:
        made: Tensor = _spread(
            self.prototypes,
            self.x,
            self.selected,
            values.to(self.x.dtype),
            self.log_normalizer,
            self.seed,
            self.rate,
        )
        return made


def _picked(prototypes: Tensor, selected: Tensor | None) -> Tensor:
    if selected is None:
        return prototypes
    return prototypes.gather(1, selected[:, :, None].expand(-1, -1, prototypes.shape[2]))


def _unless(prototypes: Tensor, x: Tensor, selected: Tensor | None, dropout: nn.Module) -> str | None:
    if type(dropout) is not nn.Dropout or dropout._forward_hooks or dropout._forward_pre_hooks:
        return "the dropout is not a plain nn.Dropout, so it needs the similarities"
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    if dtype not in _WIDEST or x.dtype not in _WIDEST or prototypes.dtype not in _WIDEST:
        return "the vertices are neither float32, bfloat16 nor float16"
    if not torch.is_autocast_enabled(x.device.type) and prototypes.dtype != x.dtype:
        return "the dtypes of vertices and prototypes differ"
    if x.shape[2] > _WIDEST[dtype]:
        return f"more than {_WIDEST[dtype]} features in {dtype} do not fit into registers"
    if not x.numel() or not prototypes.numel() or (selected is not None and not selected.numel()):
        return "there is nothing to gather"
    used = prototypes.shape[1] if selected is None else selected.shape[1]
    if x.shape[0] * max(used * -(-x.shape[1] // 4), prototypes.shape[1], used) > _LARGEST_SIZE:
        return "there are 2**33 participations or more, beyond 32-bit counters"
    return None


@torch.library.custom_op(f"hypertune::{_NAME}_gather", mutates_args=())
def _gather(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, seed: Tensor | None, rate: float
) -> tuple[Tensor, Tensor]:
    """Return features ``(batch, M, D)`` and the logarithm of the softmax's denominator ``(batch, M)``."""

    def triton_call() -> tuple[Tensor, Tensor]:
        from hypertune.kernels import _soft_hyperedge_launch

        return _soft_hyperedge_launch.gather(prototypes, x, selected, seed, rate)

    return run(_NAME, triton_call, lambda: _plain_gather(prototypes, x, selected, seed, rate), x)


@torch.library.custom_op(f"hypertune::{_NAME}_gather_backward", mutates_args=())
def _gather_backward(
    gradient: Tensor,
    log_gradient: Tensor,
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    seed: Tensor | None,
    features: Tensor,
    log_normalizer: Tensor,
    rate: float,
) -> list[Tensor]:
    """Return the gradients of prototypes and vertices."""

    def triton_call() -> list[Tensor]:
        from hypertune.kernels import _soft_hyperedge_launch

        return _soft_hyperedge_launch.gather_backward(
            gradient, log_gradient, prototypes, x, selected, seed, features, log_normalizer, rate
        )

    def reference_call() -> list[Tensor]:
        similarities, slope = _similarities(prototypes, x, selected, seed, rate)
        shares = (similarities - log_normalizer[:, :, None]).exp()
        offset = (gradient * features).sum(dim=2, dtype=torch.float32) - log_gradient
        flow = (shares * (gradient @ x.mT - offset[:, :, None]) * slope).to(x.dtype)
        to_x = shares.to(x.dtype).mT @ gradient + flow.mT @ _picked(prototypes, selected)
        return [_put_back(flow @ x, prototypes, selected), to_x.contiguous()]

    return run(_NAME, triton_call, reference_call, gradient)


@torch.library.custom_op(f"hypertune::{_NAME}_spread", mutates_args=())
def _spread(
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> Tensor:
    """Return ``(batch, N, D)``: the values of hyperedges ``(batch, M, D)``, by participation."""

    def triton_call() -> Tensor:
        from hypertune.kernels import _soft_hyperedge_launch

        return _soft_hyperedge_launch.spread(prototypes, x, selected, values, log_normalizer, seed, rate)

    def reference_call() -> Tensor:
        return _plain_spread(prototypes, x, selected, values, log_normalizer, seed, rate).contiguous()

    return run(_NAME, triton_call, reference_call, x)


@torch.library.custom_op(f"hypertune::{_NAME}_spread_backward", mutates_args=())
def _spread_backward(
    gradient: Tensor,
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> list[Tensor]:
    """Return the gradients of prototypes, vertices, values and logarithms."""

    def triton_call() -> list[Tensor]:
        from hypertune.kernels import _soft_hyperedge_launch

        return _soft_hyperedge_launch.spread_backward(
            gradient, prototypes, x, selected, values, log_normalizer, seed, rate
        )

    def reference_call() -> list[Tensor]:
        similarities, slope = _similarities(prototypes, x, selected, seed, rate)
        shares = (similarities - log_normalizer[:, :, None]).exp()
        to_logs = shares * (values @ gradient.mT)
        flow = (to_logs * slope).to(x.dtype)
        to_x = flow.mT @ _picked(prototypes, selected)
        to_values = shares.to(x.dtype) @ gradient
        return [_put_back(flow @ x, prototypes, selected), to_x.contiguous(), to_values, -to_logs.sum(dim=2)]

    return run(_NAME, triton_call, reference_call, gradient)


@_gather.register_fake
def _(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, seed: Tensor | None, rate: float
) -> tuple[Tensor, Tensor]:
    used = prototypes.shape[1] if selected is None else selected.shape[1]
    return x.new_empty(x.shape[0], used, x.shape[2]), x.new_empty(x.shape[0], used, dtype=torch.float32)


@_gather_backward.register_fake
def _(
    gradient: Tensor,
    log_gradient: Tensor,
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    seed: Tensor | None,
    features: Tensor,
    log_normalizer: Tensor,
    rate: float,
) -> list[Tensor]:
    return [prototypes.new_empty(prototypes.shape), x.new_empty(x.shape)]


@_spread.register_fake
def _(
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> Tensor:
    return x.new_empty(x.shape)


@_spread_backward.register_fake
def _(
    gradient: Tensor,
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> list[Tensor]:
    return [tensor.new_empty(tensor.shape) for tensor in (prototypes, x, values, log_normalizer)]


def _setup_gather(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.rate = inputs
    ctx.save_for_backward(*tensors, *output)


def _differentiate_gather(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
    prototypes, x, selected, seed, features, log_normalizer = ctx.saved_tensors
    wants = ctx.needs_input_grad[:2]
    made: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        made = differentiable_gradients(
            lambda p, v: _plain_gather(p, v, selected, seed, ctx.rate), (prototypes, x), wants, gradients
        )
    else:
        made = _gather_backward(*gradients, prototypes, x, selected, seed, features, log_normalizer, ctx.rate)
    return (*(tensor if want else None for tensor, want in zip(made, wants, strict=True)), None, None, None)


def _setup_spread(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.rate = inputs
    ctx.save_for_backward(*tensors)


def _differentiate_spread(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    prototypes, x, selected, values, log_normalizer, seed = ctx.saved_tensors
    wants = [ctx.needs_input_grad[position] for position in (0, 1, 3, 4)]
    made: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        made = differentiable_gradients(
            lambda p, v, y, logs: _plain_spread(p, v, selected, y, logs, seed, ctx.rate),
            (prototypes, x, values, log_normalizer),
            wants,
            (gradient,),
        )
    else:
        made = _spread_backward(gradient, prototypes, x, selected, values, log_normalizer, seed, ctx.rate)
    to_prototypes, to_x, to_values, to_logs = (t if want else None for t, want in zip(made, wants, strict=True))
    return to_prototypes, to_x, None, to_values, to_logs, None, None


_gather.register_autograd(_differentiate_gather, setup_context=_setup_gather)
_spread.register_autograd(_differentiate_spread, setup_context=_setup_spread)


def _put_back(rows: Tensor, prototypes: Tensor, selected: Tensor | None) -> Tensor:
    """Return rows of the selected prototypes among all, the rest 0."""
    if selected is None:
        return rows
    return torch.zeros_like(prototypes).scatter(1, selected[:, :, None].expand(-1, -1, rows.shape[2]), rows)


def _similarities(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, seed: Tensor | None, rate: float
) -> tuple[Tensor, Tensor | float]:
    """Return similarities after the kernels' dropout ``(batch, M, N)``, at least single precision, and their slope."""
    made = _picked(prototypes, selected) @ x.mT
    made = made.to(torch.promote_types(made.dtype, torch.float32))
    if seed is None:
        return made, 1.0
    kept = uniform(seed, made.shape[0] * made.shape[1], made.shape[2]).reshape(made.shape) >= rate
    slope = kept * (0.0 if rate >= 1 else 1 / (1 - rate))
    return made * slope, slope


def _plain_gather(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, seed: Tensor | None, rate: float
) -> tuple[Tensor, Tensor]:
    """Return what `_gather` does, in plain PyTorch operators."""
    similarities, _ = _similarities(prototypes, x, selected, seed, rate)
    logs = similarities.logsumexp(dim=2)
    return (similarities - logs[:, :, None]).exp().to(x.dtype) @ x, logs


def _plain_spread(
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> Tensor:
    """Return what `_spread` does, in plain PyTorch operators."""
    similarities, _ = _similarities(prototypes, x, selected, seed, rate)
    return (similarities - log_normalizer[:, :, None]).exp().to(x.dtype).mT @ values


def _both(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, factors: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Gather, scale the features, and spread them: both directions as one function of tensors."""
    features, participation = soft_hyperedge(prototypes, x, selected, nn.Dropout(rate))
    return features, participation.spread(features * factors)


def _both_plain(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, factors: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    matrix = functional.softmax(functional.dropout(_picked(prototypes, selected) @ x.mT, rate), dim=2)
    features = matrix @ x
    return features, matrix.mT @ (features * factors)


def _compiled() -> Sequence[Any]:
    from hypertune.kernels import _soft_hyperedge_launch

    return _soft_hyperedge_launch.compiled()


def _example(seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    return _arguments(seed, dtype, device, examples=2, vertices=21, hyperedges=7, width=12, selected=None)


def _arguments(
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    examples: int,
    vertices: int,
    hyperedges: int,
    width: int,
    selected: int | None,
    rate: float = 0.0,
) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device=device, dtype=dtype)

    prototypes = (draw(examples, hyperedges, width) / math.sqrt(width)).requires_grad_()
    x, factors = draw(examples, vertices, width).requires_grad_(), draw(width).requires_grad_()
    chosen = None
    if selected is not None:
        orders = torch.rand(examples, hyperedges, generator=generator).argsort(dim=1)
        chosen = orders[:, :selected].contiguous().to(device)
    return prototypes, x, chosen, factors, rate


def _workload(examples: int, vertices: int, hyperedges: int, width: int, selected: int | None) -> Workload:
    used = selected or hyperedges
    size = 2
    of_x, of_p, of_pairs = (
        size * examples * vertices * width,
        size * examples * used * width,
        examples * used * vertices,
    )
    passes = -(-used // 64)
    gradient_passes = -(-used // 32)
    # gather and spread: x and what is written; their gradients: x and dZ for each block of hyperedges, then once more.
    forward = passes * of_x + 2 * of_p + (2 * of_x + 2 * of_p)
    backward = gradient_passes * of_x + of_x * 2 + gradient_passes * 2 * of_x + of_x * 3 + 10 * of_p
    # PyTorch: similarities (2 bytes), dropout (mask 1, result 2), softmax (read 2, write 2), two products; backward
    # four products with pairs, the sum of two gradients, the softmax's and dropout's.
    eager_forward = of_pairs * (2 + 5 + 4 + 2 + 2) + 3 * of_x + 4 * of_p
    eager_backward = of_pairs * (2 + 2 + 2 + 2 + 6 + 6 + 5 + 2 + 2) + 10 * of_x + 6 * of_p
    work = Work(
        moved=forward + backward,
        # Products of M x N x D: 2 + 2 forward, 3 + 4 and 4 + 3 backward, where participations are computed again.
        operations=2 * of_pairs * width * 18,
        launches=7,
        eager_moved=eager_forward + eager_backward,
        eager_launches=(5 if selected is None else 7) + (11 if selected is None else 14),
        matrix=True,
    )
    choice = "" if selected is None else f", {selected} selected"
    return Workload(
        label=f"{examples}x{vertices} vertices, {hyperedges} hyperedges{choice}, D={width}, bf16",
        inputs=lambda device: _arguments(
            0,
            torch.bfloat16,
            device,
            examples=examples,
            vertices=vertices,
            hyperedges=hyperedges,
            width=width,
            selected=selected,
            rate=0.1,
        ),
        work=work,
    )


def _operators(device: torch.device) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    prototypes, x, chosen, _, _ = _arguments(
        0, torch.float32, device, examples=2, vertices=6, hyperedges=4, width=5, selected=2
    )
    seed, rate = torch.tensor([7], device=device), 0.3
    with torch.no_grad():
        features, logs = _plain_gather(prototypes, x, chosen, seed, rate)
    values, leaves = features.clone().requires_grad_(), logs.clone().requires_grad_()
    plain = (prototypes.detach(), x.detach(), chosen)
    return [
        (_gather, (prototypes, x, chosen, seed, rate)),
        (_spread, (prototypes, x, chosen, values, leaves, seed, rate)),
        (_gather_backward, (features.clone(), logs.clone(), *plain, seed, features, logs, rate)),
        (_spread_backward, (x.detach().clone(), *plain, features, logs, seed, rate)),
    ]


KERNEL = Kernel(
    name=_NAME,
    op=_both,
    reference=_both_plain,
    compiled=_compiled,
    example=_example,
    workloads=(
        _workload(128, 196, 64, 128, None),
        _workload(16, 4096, 80, 64, None),
        _workload(16, 4096, 80, 64, 24),
    ),
    tolerance={
        torch.float32: (1e-5, 1e-5),
        torch.bfloat16: (4e-2, 4e-2),
        torch.float16: (5e-3, 5e-3),
    },
    operators=_operators,
)
