"""``phm_weight``: the sum of Kronecker products that a parameterized hypercomplex layer computes with.

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypertune.kernels import _dispatch
from hypertune.kernels._configurations import ceil_div, next_power_of_two
from hypertune.kernels._second_order import differentiable_gradients
from hypertune.kernels.contract import CompileCase, Kernel, Work, Workload

__all__ = ["KERNEL", "phm_weight", "phm_weight_reference", "tile"]

NAME = "phm_weight"
_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# Beyond, the contraction over i is a matrix product worth the vendor's library.
_LARGEST_N = 8
# Programs of a backward pass: a few for each multiprocessor of a large GPU; each writes one partial sum.
_PROGRAMS = 1024


def phm_weight(A: Tensor, F: Tensor, groups: int = 1) -> Tensor:
    """Return sum_i A_i kron F_i in PyTorch's weight layout, as in [Grassucci2022].

    The n separate Kronecker products, n times the weight's memory, never exist. On a GPU one kernel reads the filters
    and writes the weight; its backward pass reads the weight's gradient once for both gradients. Elsewhere it is one
    matrix product over i and one copy into the layout. Under autocast it is computed in the parameters' own precision:
    the layer that uses the weight then rounds it once, as it does a plain one.

    Args:
        A: Multiplication rules, ``(n, n, n)``.
        F: Filters, ``(n, out / n, in / (groups * n), *kernel)``.
        groups: Number of independent blocks of channels. Each has its own filters, a slice of F's second axis, and all
            share A, so that the layer equals ``groups`` smaller layers side by side.

    Returns:
        Weight ``(out, in / groups, *kernel)``.
    """
    if _dispatch.path(NAME, A, F, unless=_unfit(A, F)) == "reference":
        return phm_weight_reference(A, F, groups)
    weight: Tensor = _assemble(A, F, groups)
    return weight


def phm_weight_reference(A: Tensor, F: Tensor, groups: int = 1) -> Tensor:
    """Return what `phm_weight` does, in plain PyTorch operators."""
    n, out, inner, *kernel = F.shape
    with _own_precision(F):
        blocks = A.flatten(1).T @ F.flatten(1)
    # (row and column of A, group, row of F, column of F and kernel) -> (group, row of A, row of F, column of A, ...)
    blocks = blocks.reshape(n, n, groups, out // groups, -1).permute(2, 0, 3, 1, 4)
    return blocks.reshape(n * out, n * inner, *kernel)


def tile(n: int, *, backward: bool = False, needs_a: bool = True) -> tuple[int, int]:
    """Return how many filter entries a program takes at a time, and its warps.

    Every entry stands for the n**2 entries of the weight it reaches, and in a backward pass to A for n**3 partial sums,
    so the block shrinks as n grows and a thread keeps 16 to 64 numbers.

    Args:
        n: Dimension of the algebra.
        backward: Whether it is the backward pass.
        needs_a: Whether the backward pass is to A as well.
    """
    padded = next_power_of_two(n)
    if not backward:
        return max(2048 // padded**2, 64) if n > 1 else 1024, 4
    per_entry = padded**3 if needs_a else padded**2 * max(padded // 2, 1)
    warps = 8 if padded > 4 else 4
    return min(max(4096 // per_entry, 16), 1024), warps


def _unfit(A: Tensor, F: Tensor) -> str | None:
    if F.shape[0] > _LARGEST_N:
        return f"n is larger than {_LARGEST_N}: a matrix product of the vendor's library"
    if A.dtype != F.dtype or F.dtype not in _DTYPES:
        return "no kernel for these dtypes; float32, bfloat16 and float16, the same for both"
    # The weight's size decides about offsets, not the parameters'.
    if F.numel() * F.shape[0] > 2**31 - 2**16:
        return "the weight has 2**31 elements or more, beyond 32-bit offsets"
    return None


def _own_precision(F: Tensor) -> contextlib.AbstractContextManager[Any]:
    # A meta tensor has no autocast, and asking for it is an error.
    if not F.is_meta and torch.is_autocast_enabled(F.device.type):
        return torch.autocast(F.device.type, enabled=False)
    return contextlib.nullcontext()


@torch.library.custom_op(f"hypertune::{NAME}", mutates_args=(), schema="(Tensor A, Tensor F, int groups) -> Tensor")
def _assemble(A: Tensor, F: Tensor, groups: int) -> Tensor:
    return _dispatch.run(NAME, lambda: _launch_forward(A, F, groups), lambda: phm_weight_reference(A, F, groups), A, F)


@_assemble.register_fake
def _(A: Tensor, F: Tensor, groups: int) -> Tensor:
    n, out, inner, *kernel = F.shape
    return F.new_empty((n * out, n * inner, *kernel))


@torch.library.custom_op(
    f"hypertune::{NAME}_backward",
    mutates_args=(),
    schema="(Tensor G, Tensor A, Tensor F, int groups, bool needs_a, bool needs_f) -> (Tensor, Tensor)",
)
def _differentiate(G: Tensor, A: Tensor, F: Tensor, groups: int, needs_a: bool, needs_f: bool) -> tuple[Tensor, Tensor]:
    return _dispatch.run(
        NAME,
        lambda: _launch_backward(G, A, F, groups, needs_a, needs_f),
        lambda: _backward_reference(G, A, F, groups, needs_a, needs_f),
        G,
        A,
        F,
    )


@_differentiate.register_fake
def _(G: Tensor, A: Tensor, F: Tensor, groups: int, needs_a: bool, needs_f: bool) -> tuple[Tensor, Tensor]:
    return A.new_empty(A.shape if needs_a else 0), F.new_empty(F.shape if needs_f else 0)


def _backward(context: Any, G: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    A, F = context.saved_tensors
    needs_a, needs_f, _ = context.needs_input_grad
    if torch.is_grad_enabled():
        # Asked for a gradient that can be differentiated again: the kernels have no derivative, plain operators do.
        groups = context.groups
        dA, dF = differentiable_gradients(
            lambda a, f: phm_weight_reference(a, f, groups), (A, F), (needs_a, needs_f), (G,)
        )
        return dA, dF, None
    dA, dF = _differentiate(G, A, F, context.groups, needs_a, needs_f)
    return dA if needs_a else None, dF if needs_f else None, None


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    A, F, ctx.groups = inputs
    ctx.save_for_backward(A, F)


_assemble.register_autograd(_backward, setup_context=_remember)


def _backward_reference(
    G: Tensor, A: Tensor, F: Tensor, groups: int, needs_a: bool, needs_f: bool
) -> tuple[Tensor, Tensor]:
    n, out = F.shape[:2]
    blocks = G.reshape(groups, n, out // groups, n, math.prod(F.shape[2:])).permute(1, 3, 0, 2, 4).reshape(n * n, -1)
    with _own_precision(F):
        dA = (F.flatten(1) @ blocks.T).reshape(A.shape) if needs_a else A.new_empty(0)
        dF = (A.flatten(1) @ blocks).reshape(F.shape) if needs_f else F.new_empty(0)
    return dA, dF


def _launch_forward(A: Tensor, F: Tensor, groups: int) -> Tensor:
    from hypertune.kernels import _phm_weight_triton as kernels

    n, out, inner, *kernel = F.shape
    weight = F.new_empty((n * out, n * inner, *kernel))
    size, block, warps = F[0].numel(), *tile(n)
    if size:
        kernels.forward_kernel[(ceil_div(size, block),)](
            A.contiguous(),
            F.contiguous(),
            weight,
            size,
            out // groups,
            size // out,
            N=n,
            PAIRS=next_power_of_two(n * n),
            BLOCK=block,
            num_warps=warps,
            num_stages=1,
            enable_fp_fusion=True,
        )
    return weight


def _launch_backward(
    G: Tensor, A: Tensor, F: Tensor, groups: int, needs_a: bool, needs_f: bool
) -> tuple[Tensor, Tensor]:
    from hypertune.kernels import _phm_weight_triton as kernels

    n, out = F.shape[:2]
    size, block, warps = F[0].numel(), *tile(n, backward=True, needs_a=needs_a)
    blocks = ceil_div(size, block * _PROGRAMS)
    programs = ceil_div(size, block * blocks) if size else 0
    dF = torch.empty_like(F, memory_format=torch.contiguous_format) if needs_f else F.new_empty(0)
    parts = A.new_empty((programs, n, n, n) if needs_a else 0, dtype=torch.float32)
    if programs:
        kernels.backward_kernel[(programs,)](
            G.contiguous(),
            A.contiguous(),
            F.contiguous(),
            dF,
            parts,
            size,
            out // groups,
            size // out,
            blocks,
            N=n,
            N_PADDED=next_power_of_two(n),
            PAIRS=next_power_of_two(n * n),
            BLOCK=block,
            NEEDS_A=needs_a,
            NEEDS_F=needs_f,
            num_warps=warps,
            num_stages=1,
            enable_fp_fusion=True,
        )
    return parts.sum(0).to(A.dtype) if needs_a else A.new_empty(0), dF


def _compiled() -> Sequence[CompileCase]:
    from hypertune.kernels import _phm_weight_triton as kernels

    cases = []
    for n, dtype in ((1, "fp32"), (2, "fp32"), (4, "fp32"), (4, "bf16"), (8, "fp32")):
        sizes = {"N": n, "PAIRS": next_power_of_two(n * n)}
        pointer, integers = f"*{dtype}", {"size": "i32", "rows_per_group": "i32", "M": "i32"}
        block, warps = tile(n)
        constants = {**sizes, "BLOCK": block}
        cases.append(
            CompileCase(
                f"forward {dtype} n={n}",
                kernels.forward_kernel,
                {"A": pointer, "F": pointer, "W": pointer, **integers, **dict.fromkeys(constants, "constexpr")},
                constants,
                warps,
                num_stages=1,
                divisible=tuple(integers),
            )
        )
        # Learned rules, and fixed ones.
        for needs_a in (True, False) if (n, dtype) == (4, "fp32") else (True,):
            block, warps = tile(n, backward=True, needs_a=needs_a)
            flags = {"N_PADDED": next_power_of_two(n), "BLOCK": block, "NEEDS_A": needs_a, "NEEDS_F": True}
            constants = {**sizes, **flags}
            pointers = {"G": pointer, "A": pointer, "F": pointer, "dF": pointer, "dA": "*fp32"}
            cases.append(
                CompileCase(
                    f"backward {dtype} n={n}{'' if needs_a else ' fixed A'}",
                    kernels.backward_kernel,
                    {**pointers, **integers, "blocks": "i32", **_in_order(constants, kernels.backward_kernel)},
                    constants,
                    warps,
                    num_stages=1,
                    divisible=tuple(integers),
                )
            )
    return cases


def _in_order(constants: dict[str, Any], function: Any) -> dict[str, str]:
    """Return the constants' signature in the order of the function's arguments."""
    return {name: "constexpr" for name in function.arg_names if name in constants}


def _example(seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, int]:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(4, 4, 4, generator=generator).to(device, dtype).requires_grad_()
    F = torch.randn(4, 6, 3, 3, 3, generator=generator).to(device, dtype).requires_grad_()
    return A, F, 2


def _operators(device: torch.device) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    A, F, groups = _example(0, torch.float32, device)
    G = torch.ones_like(phm_weight_reference(A, F, groups))
    fixed = (G.detach(), A.detach(), F.detach(), groups, True, True)
    return [(_assemble, (A, F, groups)), (_differentiate, fixed)]


def _workload(label: str, n: int, out: int, inputs: int, kernel: tuple[int, ...], dtype: torch.dtype) -> Workload:
    def make(device: torch.device) -> tuple[Tensor, Tensor, int]:
        generator = torch.Generator().manual_seed(0)
        A = torch.randn(n, n, n, generator=generator).to(device, dtype).requires_grad_()
        F = torch.randn(n, out // n, inputs // n, *kernel, generator=generator).to(device, dtype).requires_grad_()
        return A, F, 1

    weight = out * inputs * math.prod(kernel)
    filters, size = weight / n, dtype.itemsize
    work = Work(
        # Forward reads F, writes W; backward reads the gradient of W and F, writes that of F.
        moved=size * (2 * weight + 3 * filters),
        # A multiply-add for each i and entry of W, once for W, once for the gradient of each parameter.
        operations=3 * 2 * n * weight,
        launches=3,
        # The product reads F, writes blocks; a copy reads and writes W; backward copies back and reads blocks twice.
        eager_moved=size * ((filters + 3 * weight) + (4 * weight + 2 * filters)),
        eager_launches=5,
    )
    return Workload(label, make, work)


KERNEL = Kernel(
    name=NAME,
    op=phm_weight,
    reference=phm_weight_reference,
    compiled=_compiled,
    example=_example,
    workloads=(
        _workload("64 -> 64, 3x3, n=4, fp32", 4, 64, 64, (3, 3), torch.float32),
        _workload("512 -> 512, 3x3, n=4, fp32", 4, 512, 512, (3, 3), torch.float32),
        _workload("4096 -> 4096, n=4, fp32", 4, 4096, 4096, (), torch.float32),
        _workload("4096 -> 4096, n=4, bf16", 4, 4096, 4096, (), torch.bfloat16),
    ),
    tolerance={torch.float32: (1e-5, 1e-5), torch.bfloat16: (1.6e-2, 1.6e-2), torch.float16: (2e-3, 2e-3)},
    operators=_operators,
)
