"""Multilayer perceptron whose hidden layers may be of any linear kind."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from hypertune.families._activations import Activation, activation_module
from hypertune.records import TaskSpec

__all__ = ["Perceptron"]


class Perceptron(nn.Module):
    """Flatten, a plain stem to ``width``, ``depth`` hidden layers, a plain head.

    Each of stem and hidden layers is followed by the activation and dropout. There is no normalisation layer, so that
    a tuned dropout or weight decay is the only regularisation.

    Args:
        task: Shape of the problem.
        linear: Makes a hidden layer: ``linear(in_features, out_features)``.
        width: Units of every hidden layer.
        depth: Hidden layers after the stem; may be 0.
        dropout: Probability to drop a hidden unit.
        input_dropout: Probability to drop an input.
        activation: The activation.
    """

    def __init__(
        self,
        task: TaskSpec,
        linear: Callable[[int, int], nn.Module],
        *,
        width: int,
        depth: int,
        dropout: float,
        input_dropout: float = 0.0,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.input_dropout = nn.Dropout(input_dropout)
        stem: nn.Module = nn.Linear(math.prod(task.input_shape), width)
        layers = [stem, *(linear(width, width) for _ in range(depth))]
        self.hidden = nn.Sequential(
            *(nn.Sequential(layer, activation_module(activation), nn.Dropout(dropout)) for layer in layers)
        )
        self.head = nn.Linear(width, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        outputs: Tensor = self.head(self.hidden(self.input_dropout(x.flatten(1))))
        return outputs
