from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

Agrees = Callable[..., None]


def _inputs(axes: int, channels: int = 4) -> torch.Tensor:
    return torch.randn(4, channels, *(6, 5, 4)[:axes], dtype=torch.float64)


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "axes", "options"),
    [
        (nn.Conv1d, 1, {}),
        (nn.Conv1d, 1, {"bias": False, "dilation": 2}),
        (nn.Conv2d, 2, {"stride": 2, "padding": 1}),
        (nn.Conv2d, 2, {"groups": 2, "padding": "same"}),
        (nn.Conv2d, 2, {"groups": 4, "bias": False}),
        (nn.Conv2d, 2, {"padding": 1, "padding_mode": "circular", "dilation": (2, 1)}),
        (nn.Conv2d, 2, {"padding": 1, "padding_mode": "reflect"}),
        (nn.Conv3d, 3, {"padding": 1, "stride": (2, 1, 1)}),
        (nn.Conv3d, 3, {"groups": 2}),
    ],
)
def test_a_convolution_is_the_plain_one_with_each_examples_kernels(
    agrees: Agrees, rank: int, kind: type[nn.Module], axes: int, options: dict[str, Any]
) -> None:
    agrees(kind(4, 8, 2 if axes == 3 else 3, **options), rank, _inputs(axes))


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize(
    ("kind", "axes", "options"),
    [
        (nn.ConvTranspose1d, 1, {}),
        (nn.ConvTranspose1d, 1, {"groups": 2, "stride": 2, "output_padding": 1}),
        (nn.ConvTranspose2d, 2, {"stride": 2, "padding": 1}),
        (nn.ConvTranspose2d, 2, {"groups": 2, "bias": False}),
        (nn.ConvTranspose2d, 2, {"groups": 4, "dilation": 2}),
        (nn.ConvTranspose3d, 3, {"groups": 2}),
    ],
)
def test_a_transposed_convolution_has_a_gate_per_output_channel_of_each_group(
    agrees: Agrees, rank: int, kind: type[nn.Module], axes: int, options: dict[str, Any]
) -> None:
    agrees(kind(4, 8, 2, **options), rank, _inputs(axes))
