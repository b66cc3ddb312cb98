"""Best responses of complex layers against explicit weights of each example."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hypertune.families._complex_convolution import ComplexConv1d, ComplexConv2d, ComplexConvTranspose1d
from hypertune.families._complex_linear import ComplexLinear
from hypertune.families._complex_normalization import ComplexBatchNorm, ComplexLayerNorm

Agrees = Callable[..., None]
DOUBLE = {"dtype": torch.complex128}


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: ComplexLinear(5, 6, **DOUBLE), (4, 5)),
        (lambda: ComplexLinear(5, 6, bias=False, **DOUBLE), (4, 3, 5)),
        (lambda: ComplexConv1d(4, 6, 3, groups=2, padding=1, **DOUBLE), (4, 4, 5)),
        (lambda: ComplexConv2d(2, 3, 2, stride=2, **DOUBLE), (4, 2, 4, 4)),
        (lambda: ComplexConvTranspose1d(2, 3, 2, stride=2, **DOUBLE), (4, 2, 3)),
    ],
)
def test_complex_layers_have_a_real_gate_per_output(
    agrees: Agrees, rank: int, layer: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    agrees(layer(), rank, torch.randn(shape, dtype=torch.complex128))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_layer_normalization_has_a_gate_for_the_scales_of_a_channel(agrees: Agrees, shape: tuple[int, ...]) -> None:
    layer = ComplexLayerNorm(3, **DOUBLE)
    nn.init.normal_(layer.weight)
    agrees(layer, 0, torch.randn(shape, dtype=torch.complex128))


def test_batch_normalization_by_running_statistics_has_one_too(agrees: Agrees) -> None:
    layer = ComplexBatchNorm(3, **DOUBLE)
    layer(torch.randn(9, 3, 5, dtype=torch.complex128) * (1 + 2j))
    agrees(layer.eval(), 0, torch.randn(4, 3, 5, dtype=torch.complex128))
