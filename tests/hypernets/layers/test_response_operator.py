from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hypertune.families._phc import PHConv1d, PHConv2d, PHConv3d
from hypertune.families._phm import PHMLinear

Agrees = Callable[..., None]


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_hypercomplex_linear_layer_has_a_gate_per_row_of_its_filters(
    agrees: Agrees, rank: int, bias: bool, n: int
) -> None:
    agrees(PHMLinear(n, 6, 12, bias=bias), rank, torch.randn(4, 6, dtype=torch.float64))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: PHConv1d(2, 4, 8, 3, padding=1), (4, 4, 5)),
        (lambda: PHConv2d(2, 4, 8, 3, stride=2, padding=1), (4, 4, 5, 4)),
        (lambda: PHConv2d(2, 8, 12, 3, groups=2), (4, 8, 5, 4)),
        (lambda: PHConv2d(2, 8, 8, 2, groups=4, bias=False), (4, 8, 3, 4)),
        (lambda: PHConv2d(4, 4, 8, 3, padding="same", padding_mode="circular"), (4, 4, 5, 4)),
        (lambda: PHConv3d(2, 4, 4, 2, groups=2, dilation=2), (4, 4, 4, 3, 3)),
    ],
)
def test_a_hypercomplex_convolution_has_a_gate_per_row_of_its_filters(
    agrees: Agrees, rank: int, layer: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    agrees(layer(), rank, torch.randn(shape, dtype=torch.float64))


class _Complex(nn.Module):
    """A linear layer with complex weights that tells how it may respond."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, dtype=torch.complex128))
        self.bias = nn.Parameter(torch.randn(outputs, dtype=torch.complex128))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias

    def response_units(self) -> tuple[str, int, int, Tensor]:
        return "weight", 0, -1, torch.arange(len(self.bias))

    def double(self) -> nn.Module:  # its numbers are double already
        return self


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_complex_weights_move_along_real_gates(agrees: Agrees, rank: int) -> None:
    agrees(_Complex(5, 6), rank, torch.randn(4, 5, dtype=torch.complex128))
