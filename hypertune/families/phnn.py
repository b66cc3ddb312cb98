"""PHNN: networks of parameterized hypercomplex layers, with about 1/n of the parameters of the real network.

The layers learn the multiplication rules of an n-dimensional algebra together with the filters, or follow the rules of
a known one. Inputs with spatial axes go through a residual network or a VGG of hypercomplex convolutions, flat inputs
through a perceptron of hypercomplex linear layers. The stem and the head are plain real layers: the number of input
channels and of outputs belongs to the data, and n rarely divides it (grey images have one channel).

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._activations import ACTIVATIONS, MIX_DOC, read_activation
from hypertune.families._algebras import ALGEBRAS, LEARNED, algebra_dimension, multiplication_rules
from hypertune.families._perceptron import Perceptron
from hypertune.families._phc import PHConv1d, PHConv2d, PHConv3d
from hypertune.families._phm import PHMLinear
from hypertune.families._phm_weight import check_divides
from hypertune.families._residual import Convolution, ResidualNetwork
from hypertune.families._resnet import RESNETS, ResNet
from hypertune.families._shapes import check_input
from hypertune.families._values import read_choice, read_fraction, read_size
from hypertune.families._vgg import VGG, VGGS
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY", "PHConv1d", "PHConv2d", "PHConv3d", "PHMLinear"]

_CONVOLUTIONS: dict[int, type[PHConv1d | PHConv2d | PHConv3d]] = {1: PHConv1d, 2: PHConv2d, 3: PHConv3d}
_RESIDUAL = "residual"
_ARCHITECTURES = (_RESIDUAL, *RESNETS, *VGGS)
_SMALLEST_SIDE = 4  # cells; below, no stage of a ResNet or VGG could halve the axis


def _build(params: Params, task: TaskSpec) -> nn.Module:
    algebra = read_choice(params, "algebra", LEARNED, ALGEBRAS)
    n = read_size(params, "n", algebra_dimension(algebra) or 4)
    multiplication_rules(algebra, n)  # refuses an n that the algebra does not have
    architecture = read_choice(params, "architecture", _RESIDUAL, _ARCHITECTURES)
    width = read_size(params, "width", 16)
    depth = read_size(params, "depth", 2)
    dropout = read_fraction(params, "dropout", 0.0)
    activation = read_activation(params, "relu")
    check_input(task, "phnn")
    check_divides(n, width, "width")
    if architecture != _RESIDUAL:
        _check_architecture(architecture, params, task)
    linear, axes = _linear(n, algebra), len(task.input_shape) - 1
    if axes == 0:
        return Perceptron(task, linear, width=width, depth=depth, dropout=dropout, activation=activation)
    convolution = _convolution(n, algebra, axes)
    if architecture in RESNETS:
        return ResNet(architecture, task, convolution, width=width, dropout=dropout, activation=activation)
    if architecture in VGGS:
        return VGG(architecture, task, convolution, linear, width=width, dropout=dropout, activation=activation)
    return ResidualNetwork(task, convolution, width=width, depth=depth, dropout=dropout, activation=activation)


def _linear(n: int, algebra: str) -> Callable[[int, int], nn.Module]:
    def linear(inputs: int, outputs: int) -> nn.Module:
        return PHMLinear(n, inputs, outputs, algebra=algebra)

    return linear


def _convolution(n: int, algebra: str, axes: int) -> Convolution:
    kind = _CONVOLUTIONS[axes]

    def convolution(inputs: int, outputs: int, kernel_size: int, stride: tuple[int, ...]) -> nn.Module:
        return kind(n, inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False, algebra=algebra)

    return convolution


def _check_architecture(name: str, params: Params, task: TaskSpec) -> None:
    """Refuse a ResNet or VGG for inputs it cannot take, or with a depth that it does not read."""
    _, *space = task.input_shape
    if not space or min(space) < _SMALLEST_SIDE:
        raise FamilyError(
            f"{name} is for larger inputs" if space else f"{name} needs channels and space, and the inputs are flat",
            where="family.architecture",
            given=task.input_shape,
            expected=f"channels, and at least {_SMALLEST_SIDE} cells on each further axis",
            fix=f"use architecture: {_RESIDUAL}",
        )
    if "depth" in params:
        raise FamilyError(
            f"the number of layers of {name} is fixed by its name",
            where="family.depth",
            given=params["depth"],
            fix=f"remove depth (the space phnn_deep has none), or use architecture: {_RESIDUAL}",
        )


FAMILY = Family(
    name="phnn",
    build=_build,
    hyperparameters={
        "algebra": f"rules of the multiplication: {', '.join(ALGEBRAS)}",
        "n": "dimension of the algebra; the hypercomplex layers have 1/n of the real layers' parameters",
        "architecture": f"network of inputs with space: {', '.join(_ARCHITECTURES)}; flat ones go through a perceptron",
        "width": "units of a hidden layer, or channels of the first stage (doubled at each further one); n divides it",
        "depth": "hypercomplex hidden layers, or residual stages of two hypercomplex convolutions each",
        "dropout": "probability to drop a hidden unit, or a feature before the head",
        "activation": f"activation function: {', '.join(ACTIVATIONS)}",
        "activation_mix": MIX_DOC,
    },
    default_space="phnn",
    reference="Grassucci, Zhang, Comminiello, arXiv 2110.04176",
)
