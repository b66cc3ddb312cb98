"""The validation split in two: one part tunes hyperparameters, the other selects epochs and trials."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, Task, TensorSplit

__all__ = ["SMALLEST_PART", "split_validation"]

SMALLEST_PART = 8
"""Examples that tuning and selection need at least."""

# The same for every trial of every study: values of trials compare only on the same examples.
_SEED = 0


def split_validation(task: Task, fraction: float) -> tuple[Split, Split]:
    """Return the split to tune on and the split to select on; no example is in both.

    A loss that hyperparameters were tuned on is optimistic, as a training loss is. Selection needs examples of its own.

    Args:
        task: Its ``tune`` split is used as it is, and then all of ``val`` selects.
        fraction: Share of ``val`` to tune on otherwise, drawn with a fixed seed.

    Raises:
        TaskError: The validation split cannot be divided, or one of the parts would have fewer than `SMALLEST_PART`
            examples.
    """
    if task.tune is not None:
        return task.tune, task.val
    val = task.val
    if isinstance(val, DataLoader):
        val = val.dataset
    if not isinstance(val, TensorSplit) and (isinstance(val, IterableDataset) or not hasattr(val, "__len__")):
        raise TaskError(
            "a stream of validation examples cannot be divided into one part to tune on and one to select on",
            where="task.val",
            given=type(val).__name__,
            expected="tensors, or a Dataset with a length",
            fix="give the task a `tune` split beside `val`",
        )
    size = len(val.x) if isinstance(val, TensorSplit) else len(val)  # type: ignore[arg-type]
    order = torch.randperm(size, generator=torch.Generator().manual_seed(_SEED))
    tuning = round(size * fraction)
    if min(tuning, size - tuning) < SMALLEST_PART:
        raise TaskError(
            "too few validation examples to tune on some and to select on others",
            where="task.val",
            given=f"{size} examples, {tuning} of them to tune on",
            expected=f"at least {SMALLEST_PART} for each",
            fix="make the validation split larger, or change trial.self_tuning.tuning_fraction",
        )
    return _part(val, order[:tuning]), _part(val, order[tuning:])


def _part(split: TensorSplit | Dataset[object], order: torch.Tensor) -> Split:
    if isinstance(split, TensorSplit):
        return TensorSplit(split.x[order.to(split.x.device)], split.y[order.to(split.y.device)])
    if type(split) is TensorDataset:
        return TensorDataset(*(tensor[order.to(tensor.device)] for tensor in split.tensors))
    return Subset(split, order.tolist())
