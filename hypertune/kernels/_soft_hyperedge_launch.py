"""Launches the kernels of `hypertune.kernels.soft_hyperedge`: tiles by shape, and what to compile ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypertune.kernels import _soft_hyperedge_triton as kernels
from hypertune.kernels._configurations import ceil_div, clamp_power_of_two, next_power_of_two
from hypertune.kernels._precision import input_precision
from hypertune.kernels.contract import CompileCase

__all__ = ["Tile", "compiled", "gather", "gather_backward", "spread", "spread_backward", "tile"]

_KERNELS = (
    "gather",
    "gather_hyperedge_gradient",
    "gather_vertex_gradient",
    "spread",
    "spread_hyperedge_gradient",
    "spread_vertex_gradient",
)
# Kernels whose programs each hold a block of hyperedges; the others hold a block of vertices.
_BY_HYPEREDGE = ("gather", "gather_hyperedge_gradient", "spread_hyperedge_gradient")


@dataclass(frozen=True, slots=True)
class Tile:
    """Hyperedges and vertices of a tile, features padded to a power of two, and how it is run."""

    hyperedges: int
    vertices: int
    width: int
    num_warps: int
    num_stages: int


def tile(kernel: str, hyperedges: int, vertices: int, width: int, dtype: torch.dtype) -> Tile:
    """Return a tile that fits into registers: the wider the features, the fewer of them are held at a time.

    Args:
        kernel: Name of the kernel.
        hyperedges: M.
        vertices: N.
        width: D, at most 256, or 128 in single precision.
        dtype: Of prototypes and vertices.
    """
    padded = max(next_power_of_two(width), 16)
    if dtype == torch.float32:
        held, passed, stages = 16, 16 if padded > 64 else 32, 1
    else:
        held, passed, stages = 64 if padded <= 128 else 16, 64 if padded <= 64 else 32, 2
    if kernel in _BY_HYPEREDGE:
        # The gradients hold two or three blocks of features where the forward pass holds one.
        block_m = held if kernel == "gather" else max(held // 2, 16)
        block_n = passed
    else:
        block_m, block_n = 16, max(held, passed)
    return Tile(
        clamp_power_of_two(hyperedges, 16, block_m), clamp_power_of_two(vertices, 16, block_n), padded, 4, stages
    )


def _launch(
    kernel: str,
    prototypes: Tensor,
    selected: Tensor | None,
    x: Tensor,
    others: tuple[Tensor, ...],
    seed: Tensor | None,
    rate: float,
) -> None:
    """Launch a kernel; ``others`` are its pointers after x."""
    examples, vertices, width = x.shape
    used = prototypes.shape[1] if selected is None else selected.shape[1]
    size = tile(kernel, used, vertices, width, x.dtype)
    blocks = ceil_div(used, size.hyperedges) if kernel in _BY_HYPEREDGE else ceil_div(vertices, size.vertices)
    function: Any = getattr(kernels, f"{kernel}_kernel")
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        function[(examples, blocks)](
            prototypes,
            x if selected is None else selected.contiguous(),
            x,
            *others,
            used,
            prototypes.shape[1],
            vertices,
            width,
            x if seed is None else seed,
            rate,
            0.0 if rate >= 1 else 1 / (1 - rate),
            SELECTED=selected is not None,
            DROPOUT=seed is not None,
            PRECISION=input_precision(x),
            BLOCK_M=size.hyperedges,
            BLOCK_N=size.vertices,
            BLOCK_D=size.width,
            num_warps=size.num_warps,
            num_stages=size.num_stages,
            enable_fp_fusion=True,
        )


def gather(
    prototypes: Tensor, x: Tensor, selected: Tensor | None, seed: Tensor | None, rate: float
) -> tuple[Tensor, Tensor]:
    """Launch the first direction; arguments as of the operator."""
    prototypes, x = prototypes.contiguous(), x.contiguous()
    used = prototypes.shape[1] if selected is None else selected.shape[1]
    features = x.new_empty(len(x), used, x.shape[2])
    log_normalizer = x.new_empty(len(x), used, dtype=torch.float32)
    _launch("gather", prototypes, selected, x, (features, log_normalizer), seed, rate)
    return features, log_normalizer


def gather_backward(
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
    """Launch the gradients of `gather`; arguments as of the operator."""
    prototypes, x, gradient = prototypes.contiguous(), x.contiguous(), gradient.contiguous()
    # The softmax's derivative subtracts the mean of what flows to the participations: <dF_m, F_m>.
    offset = (gradient.float() * features.float()).sum(dim=2) - log_gradient
    to_prototypes = torch.empty_like(prototypes) if selected is None else torch.zeros_like(prototypes)
    to_x = torch.empty_like(x)
    read = (gradient, log_normalizer.contiguous(), offset)
    _launch("gather_hyperedge_gradient", prototypes, selected, x, (*read, to_prototypes), seed, rate)
    _launch("gather_vertex_gradient", prototypes, selected, x, (*read, to_x), seed, rate)
    return [to_prototypes, to_x]


def spread(
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> Tensor:
    """Launch the second direction; arguments as of the operator."""
    prototypes, x = prototypes.contiguous(), x.contiguous()
    messages = torch.empty_like(x)
    _launch("spread", prototypes, selected, x, (values.contiguous(), log_normalizer.contiguous(), messages), seed, rate)
    return messages


def spread_backward(
    gradient: Tensor,
    prototypes: Tensor,
    x: Tensor,
    selected: Tensor | None,
    values: Tensor,
    log_normalizer: Tensor,
    seed: Tensor | None,
    rate: float,
) -> list[Tensor]:
    """Launch the gradients of `spread`; arguments as of the operator."""
    prototypes, x, values = prototypes.contiguous(), x.contiguous(), values.contiguous()
    read = (values, log_normalizer.contiguous(), gradient.contiguous())
    to_prototypes = torch.empty_like(prototypes) if selected is None else torch.zeros_like(prototypes)
    to_x, to_values = torch.empty_like(x), torch.empty_like(values)
    to_log_normalizer = torch.empty_like(read[1])
    written = (to_prototypes, to_values, to_log_normalizer)
    _launch("spread_hyperedge_gradient", prototypes, selected, x, (*read, *written), seed, rate)
    _launch("spread_vertex_gradient", prototypes, selected, x, (*read, to_x), seed, rate)
    return [to_prototypes, to_x, to_values, to_log_normalizer]


_TYPES = {
    "selected": "*i64",
    "seed": "*i64",
    "log_normalizer": "*fp32",
    "offset": "*fp32",
    "to_log_normalizer": "*fp32",
    "rate": "fp32",
    "scale": "fp32",
    "used": "i32",
    "all_prototypes": "i32",
    "vertices": "i32",
    "width": "i32",
}
_NVIDIA, _AMD = ("sm_80", "sm_90", "sm_100"), ("gfx942",)


def compiled() -> list[CompileCase]:
    """Return every kernel for the usual widths in both precisions, with dropout and a selection."""
    cases = []
    for kernel in _KERNELS:
        cases.append(_case(kernel, torch.bfloat16, 128, "ieee", ()))
        cases.append(_case(kernel, torch.float32, 64, "tf32x3", _NVIDIA))
        cases.append(_case(kernel, torch.float32, 64, "ieee", _AMD))
    # The kernels that hold the most.
    for kernel in ("spread_hyperedge_gradient", "spread_vertex_gradient"):
        cases.append(_case(kernel, torch.bfloat16, 256, "ieee", ()))
        cases.append(_case(kernel, torch.float32, 128, "tf32x3", _NVIDIA))
        cases.append(_case(kernel, torch.float32, 128, "ieee", _AMD))
    return cases


def _case(kernel: str, dtype: torch.dtype, width: int, precision: str, targets: tuple[str, ...]) -> CompileCase:
    triton_type = {torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
    size = tile(kernel, 80, 1024, width, dtype)
    constexprs = {
        "SELECTED": True,
        "DROPOUT": True,
        "PRECISION": precision,
        "BLOCK_M": size.hyperedges,
        "BLOCK_N": size.vertices,
        "BLOCK_D": size.width,
    }
    function: Any = getattr(kernels, f"{kernel}_kernel")
    signature = {
        argument: "constexpr" if argument in constexprs else _TYPES.get(argument, f"*{triton_type}")
        for argument in function.arg_names
    }
    return CompileCase(
        label=f"{kernel} {triton_type} D={width}{' ' + precision if targets else ''}",
        function=function,
        signature=signature,
        constexprs=constexprs,
        num_warps=size.num_warps,
        num_stages=size.num_stages,
        divisible=("vertices", "width"),
        targets=targets,
    )
