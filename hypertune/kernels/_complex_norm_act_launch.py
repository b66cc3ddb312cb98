"""Launches the kernels of `hypertune.kernels.complex_norm_act`: tiles by shape, and what to compile ahead of time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hypertune.kernels import _complex_norm_act_triton as kernels
from hypertune.kernels._configurations import ceil_div, clamp_power_of_two, next_power_of_two
from hypertune.kernels.contract import CompileCase

__all__ = ["Grid", "backward", "compiled", "forward", "grid"]

# Complex numbers of a tile: 8 of each of 128 threads.
_TILE = 1024
# Programs that keep a large GPU busy: a few on each of the 132 multiprocessors of an H100.
_PROGRAMS = 1056
_MOST_SPLITS = 128
_WARPS = 4
_ACTIVATIONS = {"none": 0, "crelu": 1, "modrelu": 2, "cardioid": 3}


@dataclass(frozen=True, slots=True)
class Grid:
    """How the numbers of a channel are cut.

    Attributes:
        block_b: Examples of a tile.
        block_s: Numbers of each of them.
        splits: Programs of a channel.
        tiles_per_split: Tiles of a program.
    """

    block_b: int
    block_s: int
    splits: int
    tiles_per_split: int


def grid(channels: int, batch: int, space: int) -> Grid:
    """Return tiles that fit the shape, and as many programs as a large GPU needs."""
    block_s = clamp_power_of_two(space, 1, _TILE)
    block_b = clamp_power_of_two(batch, 1, _TILE // block_s)
    tiles = ceil_div(batch, block_b) * ceil_div(space, block_s)
    wanted = max(1, min(ceil_div(_PROGRAMS, channels), tiles, _MOST_SPLITS))
    per_split = ceil_div(tiles, wanted)
    return Grid(block_b, block_s, ceil_div(tiles, per_split), per_split)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, activation_bias: Tensor | None, activation: str, eps: float
) -> tuple[Tensor, Tensor]:
    """Launch statistics and normalization; arguments as of the operator."""
    batch, channels, space = x.shape
    x, weight, bias = x.contiguous(), weight.contiguous(), bias.contiguous()
    y = torch.empty_like(x)
    statistics = weight.new_empty(channels, 5)
    cut = grid(channels, batch, space)
    partial = weight.new_empty(channels, cut.splits, 6)
    pairs = torch.view_as_real(x)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        kernels.statistics_kernel[(channels, cut.splits)](
            pairs,
            partial,
            channels,
            batch,
            space,
            cut.tiles_per_split,
            BLOCK_B=cut.block_b,
            BLOCK_S=cut.block_s,
            num_warps=_WARPS,
            enable_fp_fusion=True,
        )
        kernels.normalize_kernel[(channels, cut.splits)](
            pairs,
            partial,
            weight,
            torch.view_as_real(bias),
            weight if activation_bias is None else activation_bias.contiguous(),
            torch.view_as_real(y),
            statistics,
            channels,
            batch,
            space,
            cut.splits,
            cut.tiles_per_split,
            eps,
            ACTIVATION=_ACTIVATIONS[activation],
            SPLITS=next_power_of_two(cut.splits),
            BLOCK_B=cut.block_b,
            BLOCK_S=cut.block_s,
            num_warps=_WARPS,
            enable_fp_fusion=True,
        )
    return y, statistics


def backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    activation_bias: Tensor | None,
    statistics: Tensor,
    activation: str,
    eps: float,
) -> list[Tensor]:
    """Launch the two passes of the gradient; arguments as of the operator."""
    batch, channels, space = x.shape
    gradient, x, weight, bias = gradient.contiguous(), x.contiguous(), weight.contiguous(), bias.contiguous()
    to_x, to_weight, to_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
    shift = weight if activation_bias is None else activation_bias.contiguous()
    to_shift = weight.new_empty(0 if activation_bias is None else channels)
    cut = grid(channels, batch, space)
    partial = weight.new_empty(channels, cut.splits, 7)
    read = (torch.view_as_real(x), torch.view_as_real(gradient), statistics)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        kernels.gradient_sums_kernel[(channels, cut.splits)](
            *read,
            weight,
            torch.view_as_real(bias),
            shift,
            partial,
            channels,
            batch,
            space,
            cut.tiles_per_split,
            eps,
            ACTIVATION=_ACTIVATIONS[activation],
            BLOCK_B=cut.block_b,
            BLOCK_S=cut.block_s,
            num_warps=_WARPS,
            enable_fp_fusion=True,
        )
        kernels.gradient_kernel[(channels, cut.splits)](
            *read,
            partial,
            weight,
            torch.view_as_real(bias),
            shift,
            torch.view_as_real(to_x),
            to_weight,
            torch.view_as_real(to_bias),
            to_shift,
            channels,
            batch,
            space,
            cut.splits,
            cut.tiles_per_split,
            eps,
            ACTIVATION=_ACTIVATIONS[activation],
            SPLITS=next_power_of_two(cut.splits),
            BLOCK_B=cut.block_b,
            BLOCK_S=cut.block_s,
            num_warps=_WARPS,
            enable_fp_fusion=True,
        )
    return [to_x, to_weight, to_bias, to_shift]


_NUMBERS = ("channels", "batch", "space", "splits", "tiles_per_split")


def compiled() -> list[CompileCase]:
    """Return every kernel for images, those that differ with each activation, and one for numbers without space."""
    cases = []
    images, columns = grid(64, 128, 1024), grid(256, 4096, 1)
    for name in ("statistics", "normalize", "gradient_sums", "gradient"):
        for activation, number in _ACTIVATIONS.items():
            if name != "statistics" or activation == "none":
                label = name if name == "statistics" else f"{name} {activation}"
                cases.append(_case(label, name, images, number))
    cases.append(_case("gradient_sums cardioid, no space", "gradient_sums", columns, _ACTIVATIONS["cardioid"]))
    return cases


def _case(label: str, name: str, cut: Grid, activation: int) -> CompileCase:
    function = getattr(kernels, f"{name}_kernel")
    constexprs = {
        "ACTIVATION": activation,
        "SPLITS": next_power_of_two(cut.splits),
        "BLOCK_B": cut.block_b,
        "BLOCK_S": cut.block_s,
    }
    signature = {
        argument: "constexpr"
        if argument in constexprs
        else "i32"
        if argument in _NUMBERS
        else "fp32"
        if argument == "eps"
        else "*fp32"
        for argument in function.arg_names
    }
    return CompileCase(
        label=label,
        function=function,
        signature=signature,
        constexprs={key: value for key, value in constexprs.items() if key in function.arg_names},
        num_warps=_WARPS,
        divisible=("space",),
    )
