"""``row_dropout`` and ``row_noise``: dropout and Gaussian noise whose strength differs between examples.

On a GPU the random numbers are a function of a seed and of the place (Philox), drawn again in the backward pass: no
mask and no noise is ever stored.

References:
    [Srivastava2014] Srivastava et al. Dropout: A Simple Way to Prevent Neural Networks from Overfitting. JMLR 15.
    [Salmon2011] Salmon, Moraes, Dror, Shaw. Parallel Random Numbers: As Easy as 1, 2, 3. SC 2011.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypertune.kernels import _dispatch, _philox
from hypertune.kernels._configurations import ceil_div, next_power_of_two
from hypertune.kernels.contract import CompileCase, Kernel, Work, Workload

__all__ = ["KERNEL", "row_dropout", "row_dropout_reference", "row_noise", "row_noise_reference", "tile"]

NAME = "row_dropout"
NOISE = "row_noise"
_DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_WARPS = 4


def row_dropout(x: Tensor, rate: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Drop entries at the rate of their row, and scale what is kept by 1 / (1 - rate) ([Srivastava2014], section 10).

    The rate has a gradient too, that of the scale. The numbers come from PyTorch's generator: directly on the reference
    path; through one seed on the Triton path, where they do not depend on the tile or the GPU.

    Args:
        x: Any shape.
        rate: In [0, 1], broadcastable against ``x`` with as many axes, all of size 1 but at most one.
        generator: On the device of ``x``; the device's default by default.

    Returns:
        Same shape and dtype as ``x``.
    """
    if _dispatch.path(NAME, x, rate, unless=_unfit(x, rate)) == "reference":
        return row_dropout_reference(x, rate, generator=generator)
    return _by_rows(_dropout, x, rate, generator)


def row_dropout_reference(x: Tensor, rate: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return what `row_dropout` does, in plain PyTorch operators."""
    kept = torch.rand(x.shape, device=x.device, dtype=torch.float32, generator=generator) >= rate
    return x * torch.where(kept, _scale(rate), 0).to(x.dtype)


def row_noise(x: Tensor, scale: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Add Gaussian noise whose standard deviation is that of the row.

    Args:
        x: Any shape, real or complex; the noise of complex entries is circular.
        scale: Standard deviation, broadcastable against ``x`` with as many axes, all of size 1 but at most one.
        generator: On the device of ``x``; the device's default by default.

    Returns:
        Same shape as ``x``.
    """
    if _dispatch.path(NOISE, x, scale, unless=_unfit(x, scale)) == "reference":
        return row_noise_reference(x, scale, generator=generator)
    return _by_rows(_noise, x, scale, generator)


def row_noise_reference(x: Tensor, scale: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Return what `row_noise` does, in plain PyTorch operators."""
    noise = torch.empty_like(x).normal_(generator=generator)
    return x + scale * noise


def tile(inner: int, itemsize: int) -> tuple[int, int]:
    """Return rows and columns of a program's tile, powers of two, 4 KiB of entries together.

    Each of 128 threads, or 256 on AMD, then moves 16 bytes at a time.

    The widest tile that hangs over the end of a row by at most a quarter; neighbouring threads then read neighbouring
    entries. Rows shorter than 32 entries share a tile of their own width.

    Args:
        inner: Entries of a row.
        itemsize: Bytes of an entry.
    """
    columns = entries = 4096 // itemsize
    while columns > 32 and ceil_div(inner, columns) * columns > 1.25 * inner:
        columns //= 2
    columns = min(columns, max(next_power_of_two(inner), 4))
    return entries // columns, columns


def _scale(rate: Tensor) -> Tensor:
    # At a rate of 1 nothing is kept, and a finite scale keeps its gradient finite.
    return 1 / (1 - rate).clamp(min=1e-30)


def _unfit(x: Tensor, strength: Tensor) -> str | None:
    if x.dtype not in _DTYPES:
        return "no kernel for this dtype; float32, bfloat16 and float16"
    if strength.dim() != x.dim() or sum(size != 1 for size in strength.shape) > 1:
        return "the strength varies along several axes"
    if not x.dim():
        return "a single number"
    return None


def _by_rows(
    operator: Callable[[Tensor, Tensor, Tensor], Tensor], x: Tensor, strength: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Call an operator on ``x`` as a contiguous ``(outer, examples, inner)``, in the order its memory has."""
    order = list(range(x.dim()))
    for axes, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == axes and not x.is_contiguous() and x.is_contiguous(memory_format=layout):
            order = [0, *range(2, axes), 1]
    x, strength = x.permute(order), strength.permute(order)
    axis = next((axis for axis, size in enumerate(strength.shape) if size != 1), 0)
    examples = strength.shape[axis]
    outer = math.prod(x.shape[:axis]) if examples > 1 else 1
    # A seed that stays on the device: reading it would make the host wait.
    seed = torch.randint(2**62, (1,), device=x.device, generator=generator)
    rows = x.reshape(outer, examples, math.prod(x.shape) // max(outer * examples, 1))
    made = operator(rows.contiguous(), strength.reshape(examples).float(), seed).reshape(x.shape)
    return made.permute([order.index(axis) for axis in range(len(order))])


@torch.library.custom_op(f"hypertune::{NAME}", mutates_args=(), schema="(Tensor x, Tensor rate, Tensor seed) -> Tensor")
def _dropout(x: Tensor, rate: Tensor, seed: Tensor) -> Tensor:
    def fallback() -> Tensor:
        uniform = _philox.uniform(seed, x.shape[0] * x.shape[1], x.shape[2]).reshape(x.shape)
        rates = rate[:, None]
        return (x * torch.where(uniform >= rates, _scale(rates), 0)).to(x.dtype)

    return _dispatch.run(NAME, lambda: _launch("dropout_kernel", x, rate, seed), fallback, x, rate, seed)


@torch.library.custom_op(
    f"hypertune::{NOISE}", mutates_args=(), schema="(Tensor x, Tensor scale, Tensor seed) -> Tensor"
)
def _noise(x: Tensor, scale: Tensor, seed: Tensor) -> Tensor:
    def fallback() -> Tensor:
        normal = _philox.normal(seed, x.shape[0] * x.shape[1], x.shape[2]).reshape(x.shape)
        return (x + scale[:, None] * normal).to(x.dtype)

    return _dispatch.run(NOISE, lambda: _launch("noise_kernel", x, scale, seed), fallback, x, scale, seed)


@_dropout.register_fake
def _(x: Tensor, rate: Tensor, seed: Tensor) -> Tensor:
    return torch.empty_like(x)


@_noise.register_fake
def _(x: Tensor, scale: Tensor, seed: Tensor) -> Tensor:
    return torch.empty_like(x)


def _remember(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    x, strength, seed = inputs
    # Only the gradient of the strength needs x, which dropout otherwise could let go.
    ctx.save_for_backward(strength, seed, *([x] if ctx.needs_input_grad[1] else []))


def _dropout_backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor | None, None]:
    rate, seed, *kept = ctx.saved_tensors
    # Dropout is linear in x, and its matrix is diagonal: the gradient is dropped out by the same numbers.
    dx: Tensor = _dropout(g.contiguous(), rate, seed)
    if not kept:
        return dx, None, None
    # d/drate of 1 / (1 - rate) is its square. A rate of 1 keeps nothing, and has no slope.
    slope = (dx.float() * kept[0].float()).sum((0, 2))
    return dx, torch.where(rate < 1, slope / (1 - rate), 0), None


def _noise_backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor | None, None]:
    scale, seed, *kept = ctx.saved_tensors
    if not kept:
        return g, None, None
    noise = _noise(torch.zeros_like(g, dtype=torch.float32).contiguous(), torch.ones_like(scale), seed)
    return g, (g.float() * noise).sum((0, 2)), None


_dropout.register_autograd(_dropout_backward, setup_context=_remember)
_noise.register_autograd(_noise_backward, setup_context=_remember)


def _launch(kernel: str, x: Tensor, strength: Tensor, seed: Tensor) -> Tensor:
    from hypertune.kernels import _row_dropout_triton as kernels

    y = torch.empty_like(x)
    outer, examples, inner = x.shape
    if x.numel():
        rows, columns = tile(inner, x.element_size())
        grid = (ceil_div(outer * examples, rows) * ceil_div(inner, columns),)
        getattr(kernels, kernel)[grid](
            x,
            strength.contiguous(),
            seed,
            y,
            outer * examples,
            inner,
            examples,
            ROWS=rows,
            COLS=columns,
            num_warps=_WARPS,
            num_stages=1,
            enable_fp_fusion=True,
        )
    return y


def _compiled() -> Sequence[CompileCase]:
    from hypertune.kernels import _row_dropout_triton as kernels

    cases = []
    for label, function, dtype, inner in (
        ("dropout", kernels.dropout_kernel, "fp32", 1024),
        ("dropout", kernels.dropout_kernel, "bf16", 1024),
        ("dropout", kernels.dropout_kernel, "fp32", 10),
        ("noise", kernels.noise_kernel, "fp32", 1024),
        ("noise", kernels.noise_kernel, "bf16", 1024),
    ):
        rows, columns = tile(inner, 4 if dtype == "fp32" else 2)
        pointer = f"*{dtype}"
        signature = {"x": pointer, "rates": "*fp32", "seed": "*i64", "y": pointer}
        if label == "noise":
            signature = {"x": pointer, "scales": "*fp32", "seed": "*i64", "y": pointer}
        cases.append(
            CompileCase(
                f"{label} {dtype} rows of {inner}",
                function,
                {
                    **signature,
                    **dict.fromkeys(("rows", "inner", "examples"), "i32"),
                    **dict.fromkeys(("ROWS", "COLS"), "constexpr"),
                },
                {"ROWS": rows, "COLS": columns},
                _WARPS,
                num_stages=1,
                divisible=("rows", "inner", "examples") if inner % 16 == 0 else (),
            )
        )
    return cases


def _example(seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 3, 5, generator=generator).to(device, dtype).requires_grad_()
    rate = torch.rand(6, 1, 1, generator=generator).to(device).requires_grad_()
    return x, rate


def _operators(device: torch.device) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    x, rate = _example(0, torch.float32, device)
    rows, rates = x.detach().reshape(1, 6, 15).requires_grad_(), rate.detach().reshape(6).requires_grad_()
    seed = torch.tensor([1 << 40], device=device)
    return [(_dropout, (rows, rates, seed)), (_noise, (rows, rates, seed))]


def _workload(label: str, shape: tuple[int, ...], dtype: torch.dtype) -> Workload:
    def make(device: torch.device) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        rate = torch.rand(shape[0], *(1,) * (len(shape) - 1), generator=generator).to(device)
        return x, rate

    entries, size = math.prod(shape), dtype.itemsize
    work = Work(
        moved=4 * size * entries,
        # Ten rounds of Philox are about 100 integer operations for four entries, in each direction.
        operations=2 * 25 * entries,
        # The seed, forward, backward.
        launches=3,
        # rand writes 4 bytes; the comparison reads 4, writes 1; the choice reads 1, writes 4; the cast to half
        # precision reads 4, writes 2; the product reads two and writes one, and once more backward.
        eager_moved=entries * (14 + (6 if size == 2 else 0) + 6 * size),
        eager_launches=7 + (size == 2),
    )
    return Workload(label, make, work)


KERNEL = Kernel(
    name=NAME,
    op=row_dropout,
    reference=row_dropout_reference,
    compiled=_compiled,
    example=_example,
    workloads=(
        _workload("128 x 256, fp32", (128, 256), torch.float32),
        _workload("1024 x 4096, fp32", (1024, 4096), torch.float32),
        _workload("256 x 64 x 56 x 56, bf16", (256, 64, 56, 56), torch.bfloat16),
    ),
    tolerance={torch.float32: (1e-6, 1e-6), torch.bfloat16: (1e-2, 1e-2), torch.float16: (1e-3, 1e-3)},
    operators=_operators,
    random=True,
)
