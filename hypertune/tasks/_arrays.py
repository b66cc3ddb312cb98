"""Shipped data as arrays -> a `Task` in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hypertune.records import TaskKind, TaskSpec
from hypertune.tasks._losses import RootMeanSquaredError, default_loss, default_metrics
from hypertune.tasks._splits import split_indices
from hypertune.tasks.contract import Task, TensorSplit

__all__ = ["array_task"]


def array_task(
    name: str,
    kind: TaskKind,
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    standardize: bool,
    n_train: int | None,
    n_val: int | None,
    n_test: int | None,
    split_seed: int,
) -> Task:
    """Split arrays and put them into tensors.

    Args:
        name: The task's name.
        kind: What the targets are.
        x: Inputs, ``(n, *input_shape)``.
        y: Classes from 0, ``(n,)``, or real targets, ``(n,)``.
        standardize: Shift and scale each input feature to mean 0 and standard deviation 1 on the training split. The
            real target of a regression is standardised in any case, and ``rmse`` is scaled back.
        n_train: Size of the training split.
        n_val: Size of the validation split.
        n_test: Size of the test split.
        split_seed: Seed of the split.

    Raises:
        TaskError: A split size or the seed is wrong.
    """
    classes = y.astype(np.int64) if kind == "classification" else None
    indices = split_indices(len(x), classes=classes, n_train=n_train, n_val=n_val, n_test=n_test, seed=split_seed)
    x = x.astype(np.float64)
    if standardize:
        mean, deviation = _moments(x[indices.train])
        x = (x - mean) / deviation
    metrics = default_metrics(kind)
    if classes is not None:
        targets, output_size = torch.from_numpy(classes), int(classes.max()) + 1
    else:
        columns = y.astype(np.float64).reshape(len(y), -1)
        mean, deviation = _moments(columns[indices.train])
        targets = torch.from_numpy((columns - mean) / deviation).float()
        output_size = targets.shape[1]
        metrics["rmse"] = RootMeanSquaredError(float(deviation[0]))
    inputs = torch.from_numpy(x).float()
    train, val, test = (TensorSplit(inputs[chosen], targets[chosen]) for chosen in map(torch.from_numpy, indices))
    spec = TaskSpec(name, kind, tuple(inputs.shape[1:]), output_size)
    return Task(spec, train, val, test, default_loss(kind), metrics)


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    deviation = values.std(axis=0)
    # A feature that is constant on the training split stays as it is.
    return values.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
