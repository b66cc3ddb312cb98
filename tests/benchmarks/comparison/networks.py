"""The perceptron of the benchmark: a dropout of its own before each layer."""

from __future__ import annotations

import math

from torch import Tensor, nn

from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["PERCEPTRON"]


class _Perceptron(nn.Module):
    def __init__(self, task: TaskSpec, width: int, dropouts: tuple[float, float, float]) -> None:
        super().__init__()
        self.dropout_input = nn.Dropout(dropouts[0])
        self.hidden_1 = nn.Linear(math.prod(task.input_shape), width)
        self.dropout_1 = nn.Dropout(dropouts[1])
        self.hidden_2 = nn.Linear(width, width)
        self.dropout_2 = nn.Dropout(dropouts[2])
        self.head = nn.Linear(width, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        x = self.hidden_1(self.dropout_input(x.flatten(1))).relu()
        x = self.hidden_2(self.dropout_1(x)).relu()
        outputs: Tensor = self.head(self.dropout_2(x))
        return outputs


def _build(params: Params, task: TaskSpec) -> nn.Module:
    dropouts = tuple(float(params.get(name, 0.0)) for name in ("dropout_input", "dropout_1", "dropout_2"))  # type: ignore[arg-type]
    return _Perceptron(task, int(params.get("width", 256)), dropouts)  # type: ignore[arg-type]


PERCEPTRON = Family(
    name="perceptron",
    build=_build,
    hyperparameters={
        "width": "units of each of the two hidden layers",
        "dropout_input": "probability to drop an input",
        "dropout_1": "probability to drop a unit of the first hidden layer",
        "dropout_2": "probability to drop a unit of the second hidden layer",
    },
)
