"""What a task is: data in three splits, a loss per example, metrics over a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hypertune.records import TaskSpec

__all__ = ["Loss", "Metric", "Split", "Task", "TensorSplit"]


@dataclass(frozen=True, slots=True)
class TensorSplit:
    """A split that lives in memory.

    Attributes:
        x: Inputs, ``(n, *input_shape)``.
        y: Targets: ``(n,)`` int64 classes, or ``(n, output_size)`` float32 values.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return int(self.x.shape[0])


Split: TypeAlias = TensorSplit | Dataset[Any] | DataLoader[Any]
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``loss(outputs, targets)`` -> ``(batch,)``, one loss per example."""
Metric: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``metric(outputs, targets)`` over a whole split -> scalar.

One that is a mean over examples may also have ``metric.per_example(outputs, targets)`` -> ``(n,)``; what a study says
of the luck in its choice then covers it.
"""


@dataclass(frozen=True, slots=True)
class Task:
    """A learning task.

    Attributes:
        spec: Shape of the problem; all that a model family sees.
        train: What weights are trained on.
        val: What the search selects on; never trained on.
        test: What only the final report sees; None when the user has none.
        loss: Loss per example.
        metrics: Further metrics, reported as ``val/<name>`` and ``test/<name>`` beside ``loss``.
        tune: What hyperparameters are tuned on inside a self-tuning trial; None: a part of ``val``, which then does
            not select.
    """

    spec: TaskSpec
    train: Split
    val: Split
    test: Split | None
    loss: Loss
    metrics: Mapping[str, Metric]
    tune: Split | None = None
