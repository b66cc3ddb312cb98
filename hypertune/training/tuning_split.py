"""The validation split in parts: one tunes hyperparameters, one selects epochs and trials, one only certifies."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    default_collate,
)

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, Task, TensorSplit

__all__ = ["SMALLEST_PART", "reserve_validation", "split_validation"]

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
    return _divide(task.val, fraction, "to tune on", "trial.self_tuning.tuning_fraction")


def reserve_validation(task: Task, fraction: float) -> tuple[Split, Split]:
    """Return the part of the validation split that has no part in any choice, and the rest; no example is in both.

    Args:
        task: The task.
        fraction: Share of ``val`` to reserve, drawn with a fixed seed.

    Raises:
        TaskError: As for `split_validation`.
    """
    return _divide(task.val, fraction, "to certify the winner with", "trial.reserve")


def _divide(split: Split, fraction: float, purpose: str, option: str) -> tuple[Split, Split]:
    loader = split if isinstance(split, DataLoader) else None
    val: Split = split if loader is None else _examples(loader)
    if not isinstance(val, TensorSplit) and (isinstance(val, IterableDataset) or not hasattr(val, "__len__")):
        raise _indivisible(
            type(val).__name__,
            "a stream of validation examples cannot be divided",
            "tensors, or a Dataset with a length",
        )
    size = len(val.x) if isinstance(val, TensorSplit) else len(val)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(_SEED))
    tuning = round(size * fraction)
    if min(tuning, size - tuning) < SMALLEST_PART:
        raise TaskError(
            f"too few validation examples {purpose} and to select on others",
            where="task.val",
            given=f"{size} examples, {tuning} of them {purpose}",
            expected=f"at least {SMALLEST_PART} for each",
            fix=f"make the validation split larger, or change {option}",
        )
    tune, select = _part(val, order[:tuning]), _part(val, order[tuning:])
    if loader is None:
        return tune, select
    return _loaded(loader, tune, shuffle=True), _loaded(loader, select, shuffle=False)


def _part(split: Split, order: torch.Tensor) -> Split:
    if isinstance(split, TensorSplit):
        return TensorSplit(split.x[order.to(split.x.device)], split.y[order.to(split.y.device)])
    if type(split) is TensorDataset:
        return TensorDataset(*(tensor[order.to(tensor.device)] for tensor in split.tensors))
    return Subset(split, order.tolist())  # type: ignore[arg-type]


def _examples(loader: DataLoader[Any]) -> Dataset[Any]:
    """Return the examples that a loader reads: not always all of its dataset."""
    sampler = getattr(loader, "sampler", None)
    if isinstance(loader.dataset, IterableDataset):
        return loader.dataset
    if loader.batch_size is not None and isinstance(sampler, SubsetRandomSampler):
        return Subset(loader.dataset, list(sampler.indices))
    whole = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, RandomSampler) and not sampler.replacement and sampler.num_samples == len(loader.dataset)  # type: ignore[arg-type]
    )
    if loader.batch_size is None or not whole:
        raise _indivisible(
            type(loader.batch_sampler if loader.batch_size is None else sampler).__name__,
            "which validation examples the loader's sampler chooses is not known, so they cannot be divided",
            "a DataLoader over the validation examples, in order or shuffled",
        )
    return loader.dataset


def _loaded(loader: DataLoader[Any], part: Split, *, shuffle: bool) -> Split:
    if type(part) is TensorDataset and loader.collate_fn is default_collate:
        return part
    return DataLoader(
        part,  # type: ignore[arg-type]
        batch_size=loader.batch_size,
        shuffle=shuffle,
        # Its own, which the trial seeds: without one a loader draws from the global stream, which dropout uses.
        generator=torch.Generator(),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _indivisible(given: str, problem: str, expected: str) -> TaskError:
    return TaskError(
        f"{problem} into one part that selects and one that does not",
        where="task.val",
        given=given,
        expected=expected,
        fix="give the task a `tune` split beside `val`",
    )
