"""Complex CNN: a residual network of complex layers for spectra and other complex inputs, and its real twins.

The layers compute in complex64 from input to head; weights and activations keep their phase. ``kind: real`` is the same
network of real layers on real and imaginary part as two channels, ``real_doubled`` that network with about as many
parameters as the complex one: without it a comparison would favour the complex network, whose weights are two numbers.

There is no complex bfloat16: under autocast the complex layers go on in complex64 and the real head alone is reduced.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
"""

from __future__ import annotations

from torch import nn

from hypertune.families._complex_activations import (
    COMPLEX_ACTIVATIONS,
    Cardioid,
    CReLU,
    CSigmoid,
    CTanh,
    ModReLU,
    ModTanh,
    ZReLU,
)
from hypertune.families._complex_convolution import (
    ComplexConv1d,
    ComplexConv2d,
    ComplexConv3d,
    ComplexConvTranspose1d,
    ComplexConvTranspose2d,
    ComplexConvTranspose3d,
)
from hypertune.families._complex_dropout import ComplexDropout
from hypertune.families._complex_heads import COMPLEX_HEADS, ComplexHead
from hypertune.families._complex_initialization import COMPLEX_INITIALIZATIONS
from hypertune.families._complex_layers import KINDS, NORMS, layer_set
from hypertune.families._complex_linear import ComplexLinear
from hypertune.families._complex_normalization import ComplexBatchNorm, ComplexLayerNorm
from hypertune.families._complex_pooling import ComplexAdaptiveAvgPool, ComplexAvgPool, ComplexMaxPool
from hypertune.families._complex_resnet import ComplexResNet
from hypertune.families._shapes import check_input
from hypertune.families._values import read_choice, read_fraction, read_odd, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = [
    "FAMILY",
    "CReLU",
    "CSigmoid",
    "CTanh",
    "Cardioid",
    "ComplexAdaptiveAvgPool",
    "ComplexAvgPool",
    "ComplexBatchNorm",
    "ComplexConv1d",
    "ComplexConv2d",
    "ComplexConv3d",
    "ComplexConvTranspose1d",
    "ComplexConvTranspose2d",
    "ComplexConvTranspose3d",
    "ComplexDropout",
    "ComplexHead",
    "ComplexLayerNorm",
    "ComplexLinear",
    "ComplexMaxPool",
    "ModReLU",
    "ModTanh",
    "ZReLU",
]


def _build(params: Params, task: TaskSpec) -> nn.Module:
    kind = read_choice(params, "kind", "complex", KINDS)
    width = read_size(params, "width", 16)
    depth = read_size(params, "depth", 2)
    kernel_size = read_odd(params, "kernel_size", 3)
    activation = read_choice(params, "activation", "crelu", COMPLEX_ACTIVATIONS)
    norm = read_choice(params, "norm", "batch", NORMS)
    init = read_choice(params, "init", "he", COMPLEX_INITIALIZATIONS)
    head = read_choice(params, "head", "modulus", COMPLEX_HEADS)
    dropout = read_fraction(params, "dropout", 0.0)
    check_input(task, "complex_cnn", flat=False, dtype="complex64")
    channels, *space = task.input_shape
    layers = layer_set(kind, len(space), channels, width=width, activation=activation, norm=norm, init=init)
    return ComplexResNet(task, layers, depth=depth, kernel_size=kernel_size, head=head, dropout=dropout)


FAMILY = Family(
    name="complex_cnn",
    build=_build,
    hyperparameters={
        "kind": "complex, real (a twin of real layers on the two parts) or real_doubled (with as many parameters)",
        "width": "complex channels of the first stage, doubled at each further one",
        "depth": "residual stages of two convolutions each",
        "kernel_size": "side of the kernels in cells, odd",
        "activation": f"activation of complex numbers: {', '.join(COMPLEX_ACTIVATIONS)}; real twins have ReLU",
        "norm": "whitening over the batch, or over each example: batch, layer",
        "init": f"initial complex weights: {', '.join(COMPLEX_INITIALIZATIONS)}",
        "head": "what of the complex features the head reads: modulus, parts",
        "dropout": "probability to drop a feature, both parts together, before the head",
    },
    default_space="complex_cnn",
    reference="Trabelsi et al., arXiv 1705.09792",
)
