"""PHNN: networks of parameterized hypercomplex layers, with about 1/n of the parameters of the real network.

The layers learn the multiplication rules of an n-dimensional algebra together with the filters. Inputs with spatial
axes go through a small residual network of hypercomplex convolutions, flat inputs through a perceptron of hypercomplex
linear layers. The stem and the head are plain real layers: the number of input channels and of outputs belongs to the
data, and n rarely divides it (grey images have one channel).

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

from torch import nn

from hypertune.families._activations import ACTIVATIONS
from hypertune.families._perceptron import Perceptron
from hypertune.families._phc import PHConv1d, PHConv2d, PHConv3d
from hypertune.families._phm import PHMLinear, check_divides
from hypertune.families._residual import Convolution, ResidualNetwork
from hypertune.families._shapes import check_input
from hypertune.families._values import read_choice, read_fraction, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY", "PHConv1d", "PHConv2d", "PHConv3d", "PHMLinear"]

_CONVOLUTIONS: dict[int, type[PHConv1d | PHConv2d | PHConv3d]] = {1: PHConv1d, 2: PHConv2d, 3: PHConv3d}


def _build(params: Params, task: TaskSpec) -> nn.Module:
    n = read_size(params, "n", 4)
    width = read_size(params, "width", 16)
    depth = read_size(params, "depth", 2)
    dropout = read_fraction(params, "dropout", 0.0)
    activation = read_choice(params, "activation", "relu", ACTIVATIONS)
    check_input(task, "phnn")
    check_divides(n, width, "width")
    if len(task.input_shape) == 1:
        return Perceptron(
            task,
            lambda inputs, outputs: PHMLinear(n, inputs, outputs),
            width=width,
            depth=depth,
            dropout=dropout,
            activation=activation,
        )
    return ResidualNetwork(
        task,
        _convolution(n, len(task.input_shape) - 1),
        width=width,
        depth=depth,
        dropout=dropout,
        activation=activation,
    )


def _convolution(n: int, axes: int) -> Convolution:
    kind = _CONVOLUTIONS[axes]

    def convolution(inputs: int, outputs: int, kernel_size: int, stride: tuple[int, ...]) -> nn.Module:
        return kind(n, inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False)

    return convolution


FAMILY = Family(
    name="phnn",
    build=_build,
    hyperparameters={
        "n": "dimension of the learned algebra; the hypercomplex layers have 1/n of the real layers' parameters",
        "width": "units of a hidden layer, or channels of the first stage (doubled at each further one); n divides it",
        "depth": "hypercomplex hidden layers, or residual stages of two hypercomplex convolutions each",
        "dropout": "probability to drop a hidden unit, or a feature before the head",
        "activation": f"activation function: {', '.join(ACTIVATIONS)}",
    },
    default_space="phnn",
    reference="Grassucci, Zhang, Comminiello, arXiv 2110.04176",
)
