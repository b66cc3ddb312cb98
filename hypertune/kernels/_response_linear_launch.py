"""Launches the kernels of `hypertune.kernels.response_linear`: tiles by shape, and what to compile ahead of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypertune.kernels import _response_linear_triton as kernels
from hypertune.kernels._configurations import ceil_div, clamp_power_of_two
from hypertune.kernels._precision import input_precision
from hypertune.kernels.contract import CompileCase

__all__ = ["Tile", "backward", "compiled", "forward", "gate_splits", "gate_tile", "tile", "weight_splits"]

# Programs that keep a large GPU busy: twice the 132 multiprocessors of an H100.
_PROGRAMS = 264


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows, output units and inputs of a tile, and how it is run."""

    rows: int
    outputs: int
    inputs: int
    num_warps: int
    num_stages: int


# What fits into registers without spilling on every target; single precision in exact products needs the most.
_LARGEST: dict[tuple[str, bool], Tile] = {
    ("forward", False): Tile(128, 64, 32, 8, 3),
    ("forward", True): Tile(64, 32, 16, 4, 2),
    ("input_gradient", False): Tile(128, 32, 64, 8, 3),
    ("input_gradient", True): Tile(64, 16, 32, 4, 2),
    ("weight_gradient", False): Tile(32, 64, 64, 8, 3),
    ("weight_gradient", True): Tile(16, 32, 64, 4, 2),
}


def tile(kernel: str, rows: int, outputs: int, inputs: int, dtype: torch.dtype) -> Tile:
    """Return the tile of a kernel: the largest, shrunk to the problem, but not below what a matrix unit takes.

    Args:
        kernel: ``forward``, ``input_gradient`` or ``weight_gradient``.
        rows: Rows of x.
        outputs: Output units.
        inputs: Features of x.
        dtype: Of x and the weights.
    """
    largest = _LARGEST[kernel, dtype == torch.float32]
    block_r = clamp_power_of_two(rows, 16, largest.rows)
    warps = largest.num_warps
    # Half the rows with half the warps: more programs when there are too few for the GPU.
    few = ceil_div(rows, block_r) * ceil_div(outputs, largest.outputs) < _PROGRAMS
    if kernel == "forward" and warps == 8 and (block_r < largest.rows or few):
        block_r, warps = min(block_r, 64), 4
    return Tile(
        block_r,
        clamp_power_of_two(outputs, 16, largest.outputs),
        clamp_power_of_two(inputs, 16, largest.inputs),
        warps,
        largest.num_stages,
    )


def weight_splits(rows: int, blocks: int, block_r: int) -> int:
    """Return into how many parts the sum over rows is cut, so that enough programs run; each has a few tiles."""
    return max(1, min(ceil_div(_PROGRAMS, blocks), ceil_div(rows, 8 * block_r), 32))


def gate_tile(groups: int, outputs: int) -> tuple[int, int]:
    """Return examples and output units of a tile of the gates' gradient."""
    block_o = clamp_power_of_two(outputs, 16, 128)
    return clamp_power_of_two(groups, 1, 1024 // block_o), block_o


def gate_splits(members: int, blocks: int) -> int:
    """Return into how many parts the sum over an example's rows is cut."""
    return max(1, min(ceil_div(_PROGRAMS, blocks), ceil_div(members, 16), 64))


def forward(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    inner: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Launch the forward kernel; arguments as of the operator."""
    (rows, inputs), outputs = x.shape, weight.shape[0]
    x, weight, gate = x.contiguous(), weight.contiguous(), gate.contiguous()
    y = x.new_empty(rows, outputs)
    product = x.new_empty((rows, outputs) if keep else (0,))
    size = tile("forward", rows, outputs, inputs, x.dtype)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        kernels.forward_kernel[(ceil_div(rows, size.rows) * ceil_div(outputs, size.outputs),)](
            x,
            weight,
            weight if direction is None else direction.contiguous(),
            weight if bias is None else bias.contiguous(),
            weight if bias_direction is None else bias_direction.contiguous(),
            gate,
            gate if bias_gate is None else bias_gate.contiguous(),
            y,
            product,
            rows,
            inputs,
            outputs,
            inner,
            gate.shape[0],
            LEARNED=direction is not None,
            HAS_BIAS=bias is not None,
            HAS_BIAS_DIRECTION=bias_direction is not None,
            HAS_BIAS_GATE=bias_gate is not None,
            KEEP=keep,
            PRECISION=input_precision(x),
            BLOCK_R=size.rows,
            BLOCK_O=size.outputs,
            BLOCK_I=size.inputs,
            num_warps=size.num_warps,
            num_stages=size.num_stages,
            enable_fp_fusion=True,
        )
    return y, product


def backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    product: Tensor,
    inner: int,
    wants: Sequence[bool],
) -> list[Tensor]:
    """Launch the backward kernels; arguments as of the operator."""
    x, weight, gate, gradient = x.contiguous(), weight.contiguous(), gate.contiguous(), gradient.contiguous()
    direction = None if direction is None else direction.contiguous()
    made: list[Tensor | None] = [None] * 7
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        if wants[0]:
            made[0] = _input_gradient(gradient, weight, direction, gate, inner)
        if wants[1] or wants[2]:
            made[1:3] = _weight_gradient(gradient, x, direction is not None, gate, inner)
        if any(wants[3:]):
            of_gate, sums = _gate_gradient(gradient, product, gate, inner, wants[5], any((*wants[3:5], wants[6])))
            if wants[3]:
                made[3] = sums.sum(dim=0).to(x.dtype)
            if wants[4] and bias_gate is not None:
                made[4] = (sums * bias_gate).sum(dim=0).to(x.dtype)
            if wants[5]:
                made[5] = of_gate.to(gate.dtype)
            if wants[6]:
                made[6] = (sums if bias_direction is None else sums * bias_direction).to(gate.dtype)
    # One new tensor for each: results of an operator must not be the same.
    return [x.new_empty(0) if tensor is None else tensor for tensor in made]


def _input_gradient(gradient: Tensor, weight: Tensor, direction: Tensor | None, gate: Tensor, inner: int) -> Tensor:
    (rows, outputs), inputs = gradient.shape, weight.shape[1]
    to_x = gradient.new_empty(rows, inputs)
    size = tile("input_gradient", rows, outputs, inputs, gradient.dtype)
    kernels.input_gradient_kernel[(ceil_div(rows, size.rows) * ceil_div(inputs, size.inputs),)](
        gradient,
        weight,
        weight if direction is None else direction,
        gate,
        to_x,
        rows,
        inputs,
        outputs,
        inner,
        gate.shape[0],
        LEARNED=direction is not None,
        PRECISION=input_precision(gradient),
        BLOCK_R=size.rows,
        BLOCK_O=size.outputs,
        BLOCK_I=size.inputs,
        num_warps=size.num_warps,
        num_stages=size.num_stages,
        enable_fp_fusion=True,
    )
    return to_x


def _weight_gradient(
    gradient: Tensor, x: Tensor, learned: bool, gate: Tensor, inner: int
) -> tuple[Tensor, Tensor | None]:
    (rows, outputs), inputs = gradient.shape, x.shape[1]
    size = tile("weight_gradient", rows, outputs, inputs, x.dtype)
    blocks = ceil_div(outputs, size.outputs) * ceil_div(inputs, size.inputs)
    splits = weight_splits(rows, blocks, size.rows)
    dtype = x.dtype if splits == 1 else torch.float32
    to_weight = x.new_empty(splits, outputs, inputs, dtype=dtype)
    to_direction = torch.empty_like(to_weight) if learned else to_weight
    kernels.weight_gradient_kernel[(blocks, splits)](
        gradient,
        x,
        gate,
        to_weight,
        to_direction,
        rows,
        inputs,
        outputs,
        inner,
        gate.shape[0],
        ceil_div(ceil_div(rows, splits), size.rows) * size.rows,
        LEARNED=learned,
        PRECISION=input_precision(x),
        BLOCK_R=size.rows,
        BLOCK_O=size.outputs,
        BLOCK_I=size.inputs,
        num_warps=size.num_warps,
        num_stages=size.num_stages,
        enable_fp_fusion=True,
    )
    return _added(to_weight, x.dtype), _added(to_direction, x.dtype) if learned else None


def _gate_gradient(
    gradient: Tensor, product: Tensor, gate: Tensor, inner: int, want_gate: bool, want_sums: bool
) -> tuple[Tensor, Tensor]:
    rows, outputs = gradient.shape
    groups = gate.shape[0]
    members = rows // groups
    block_g, block_o = gate_tile(groups, outputs)
    blocks = ceil_div(groups, block_g) * ceil_div(outputs, block_o)
    splits = gate_splits(members, blocks)
    to_gate = gradient.new_empty((splits, groups, outputs) if want_gate else (1, 0), dtype=torch.float32)
    sums = gradient.new_empty((splits, groups, outputs) if want_sums else (1, 0), dtype=torch.float32)
    kernels.gate_gradient_kernel[(blocks, splits)](
        gradient,
        product,
        to_gate,
        sums,
        outputs,
        inner,
        groups,
        members,
        ceil_div(members, splits),
        WANT_GATE=want_gate,
        WANT_SUMS=want_sums,
        BLOCK_G=block_g,
        BLOCK_O=block_o,
        num_warps=4,
        num_stages=2,
        enable_fp_fusion=True,
    )
    return _added(to_gate, torch.float32), _added(sums, torch.float32)


def _added(parts: Tensor, dtype: torch.dtype) -> Tensor:
    return parts[0] if len(parts) == 1 else parts.sum(dim=0).to(dtype)


_POINTERS = {
    "gate": "*fp32",
    "bias_gate": "*fp32",
    "to_gate": "*fp32",
    "sums": "*fp32",
    "to_weight": "*fp32",
    "to_direction": "*fp32",
}
_NUMBERS = (
    "rows",
    "inputs",
    "outputs",
    "inner",
    "groups",
    "rows_per_split",
    "members",
    "members_per_split",
)


_NVIDIA, _AMD = ("sm_80", "sm_90", "sm_100"), ("gfx942",)


def compiled() -> list[CompileCase]:
    """Return every kernel for large problems in both precisions, and the forward one without learned directions."""
    cases = []
    for dtype, triton_type, precision, targets in (
        (torch.bfloat16, "bf16", "ieee", ()),
        (torch.float32, "fp32", "tf32x3", _NVIDIA),
        (torch.float32, "fp32", "ieee", _AMD),
    ):
        for name in ("forward", "input_gradient", "weight_gradient"):
            # Without learned directions there are half of the products: what fits with both fits without.
            for learned in (True, False) if (name, triton_type) == ("forward", "bf16") else (True,):
                size = tile(name, 1 << 16, 4096, 4096, dtype)
                constexprs = {
                    "LEARNED": learned,
                    "HAS_BIAS": True,
                    "HAS_BIAS_DIRECTION": False,
                    "HAS_BIAS_GATE": True,
                    "KEEP": True,
                    "PRECISION": precision,
                    "BLOCK_R": size.rows,
                    "BLOCK_O": size.outputs,
                    "BLOCK_I": size.inputs,
                }
                label = f"{name} {triton_type} {precision} {'learned' if learned else 'scaled'}"
                cases.append(_case(label, name, triton_type, constexprs, size, targets))
    block_g, block_o = gate_tile(128, 4096)
    constexprs = {"WANT_GATE": True, "WANT_SUMS": True, "BLOCK_G": block_g, "BLOCK_O": block_o}
    cases.append(_case("gate_gradient bf16", "gate_gradient", "bf16", constexprs, Tile(0, 0, 0, 4, 2), ()))
    return cases


def _case(
    label: str, name: str, triton_type: str, constexprs: Mapping[str, object], size: Tile, targets: Sequence[str]
) -> CompileCase:
    function = getattr(kernels, f"{name}_kernel")
    signature = {
        argument: "constexpr"
        if argument in constexprs
        else "i32"
        if argument in _NUMBERS
        else _POINTERS.get(argument, f"*{triton_type}")
        for argument in function.arg_names
    }
    return CompileCase(
        label=label,
        function=function,
        signature=signature,
        constexprs={key: value for key, value in constexprs.items() if key in function.arg_names},
        num_warps=size.num_warps,
        num_stages=size.num_stages,
        divisible=("rows", "inputs", "outputs", "rows_per_split"),
        targets=targets,
    )
