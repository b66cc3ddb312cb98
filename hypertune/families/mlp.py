"""MLP: a plain multilayer perceptron on flattened inputs; the yardstick for tabular data."""

from __future__ import annotations

from torch import nn

from hypertune.families._activations import ACTIVATIONS, MIX_DOC, read_activation
from hypertune.families._perceptron import Perceptron
from hypertune.families._shapes import check_dtype
from hypertune.families._values import read_fraction, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY"]


def _build(params: Params, task: TaskSpec) -> nn.Module:
    check_dtype(task, "mlp")
    return Perceptron(
        task,
        nn.Linear,
        width=read_size(params, "width", 64),
        depth=read_size(params, "depth", 2) - 1,  # the perceptron's stem is the first hidden layer
        dropout=read_fraction(params, "dropout", 0.0),
        input_dropout=read_fraction(params, "input_dropout", 0.0),
        activation=read_activation(params, "relu"),
    )


FAMILY = Family(
    name="mlp",
    build=_build,
    hyperparameters={
        "width": "units of a hidden layer",
        "depth": "hidden layers",
        "dropout": "probability to drop a hidden unit",
        "input_dropout": "probability to drop an input",
        "activation": f"activation function: {', '.join(ACTIVATIONS)}",
        "activation_mix": MIX_DOC,
    },
    default_space="mlp",
    reference="Goodfellow, Bengio, Courville, Deep Learning, MIT Press 2016, chapter 6",
)
