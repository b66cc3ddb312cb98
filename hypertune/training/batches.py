"""Batches of a split, on the device: `TensorSplit`, `Dataset` and `DataLoader` alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, default_collate

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, TensorSplit

__all__ = ["Batch", "first_batch", "make_batches", "order_state", "set_order_state"]

Batch: TypeAlias = tuple[Tensor, Tensor]

# Splits up to this size live on the device; larger ones are copied batch by batch.
_RESIDENT_BYTES = 2**30


def make_batches(
    split: Split,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    shuffle_seed: int | None = None,
    drop_single: bool = False,
) -> Iterable[Batch]:
    """Return an iterable of a split's batches; each iteration is one epoch.

    A `DataLoader` is used as it is, with its own batch size and order; only a generator it was given is seeded again,
    so that a trial does not depend on those before it. Batches of a `Dataset` or `DataLoader` have float64 turned to
    float32 and integer targets to int64; the tensors of a `TensorSplit` are taken as they are.

    Args:
        split: The split.
        batch_size: Examples in a batch; the last one may be smaller.
        device: Where the batches shall be.
        shuffle_seed: Seed of the order, a new one each epoch; None: the order of the split.
        drop_single: Leave out a batch of one example that follows a larger one. Batch normalisation has no variance
            to divide by there, and its gradient is the noisiest of the epoch.

    Returns:
        An iterable of ``(x, y)``: ``(batch, *input_shape)`` and ``(batch, ...)``.

    Raises:
        TaskError: While iterating, a batch is not a pair of tensors of equal length.
    """
    device = torch.device(device)
    tensors = _as_tensors(split)
    if tensors is not None:
        return _TensorBatches(tensors, batch_size, device, shuffle_seed, drop_single)
    if isinstance(split, DataLoader):
        return _LoaderBatches(_seeded(split, shuffle_seed), device, drop_single)
    # Always a generator of its own: without one a loader draws from the global stream, which dropout uses.
    loader: DataLoader[Any] = DataLoader(
        split,  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=shuffle_seed is not None and not isinstance(split, IterableDataset),
        generator=torch.Generator().manual_seed(shuffle_seed or 0),
        pin_memory=device.type == "cuda",
    )
    return _LoaderBatches(loader, device, drop_single)


def first_batch(split: Split, *, batch_size: int) -> Batch:
    """Return the first examples of a split, on the CPU; starts no loader worker and draws no random number if it can.

    Args:
        split: The split.
        batch_size: How many examples; fewer when the split has fewer.

    Raises:
        TaskError: The split is empty, or its examples are not pairs.
    """
    tensors = _as_tensors(split)
    if tensors is not None:
        x, y = _checked_pair((tensors.x, tensors.y))
        return x[:batch_size].cpu(), y[:batch_size].cpu()
    loader = split if isinstance(split, DataLoader) else None
    dataset: Any = split if loader is None else loader.dataset
    collated = loader is None or loader.batch_sampler is not None
    if collated and not isinstance(dataset, IterableDataset) and hasattr(dataset, "__len__"):
        if len(dataset) == 0:
            raise _empty()
        collate = default_collate if loader is None else loader.collate_fn
        batch = collate([dataset[index] for index in range(min(batch_size, len(dataset)))])
    else:
        source: DataLoader[Any] = DataLoader(dataset, batch_size=batch_size) if loader is None else loader
        batch = next(iter(source), None)
        if batch is None:
            raise _empty()
    x, y = _convert(_checked_pair(batch))
    return x[:batch_size].cpu(), y[:batch_size].cpu()


def order_state(batches: Iterable[Batch]) -> Tensor | None:
    """Return the state of the random stream that orders the next epochs' batches; None when there is none to be had."""
    generator = _order_generator(batches)
    return None if generator is None else generator.get_state()


def set_order_state(batches: Iterable[Batch], state: Tensor | None) -> None:
    """Let the next epochs' batches come in the order they had after ``state`` was taken."""
    generator = _order_generator(batches)
    if generator is not None and state is not None:
        generator.set_state(state.cpu())


class _TensorBatches:
    def __init__(
        self, split: TensorSplit, batch_size: int, device: torch.device, seed: int | None, drop_single: bool
    ) -> None:
        x, y = _checked_pair((split.x, split.y))
        resident = x.nbytes + y.nbytes <= _RESIDENT_BYTES
        self._x, self._y = (x.to(device), y.to(device)) if resident else (x, y)
        self._device = device
        self._batch_size = batch_size
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._end = len(x)
        if drop_single and batch_size > 1 and len(x) > batch_size and len(x) % batch_size == 1:
            self._end -= 1

    def __iter__(self) -> Iterator[Batch]:
        order = None
        if self.generator is not None:
            order = torch.randperm(len(self._x), generator=self.generator).to(self._x.device)
        for start in range(0, self._end, self._batch_size):
            part = slice(start, min(start + self._batch_size, self._end))
            chosen = part if order is None else order[part]
            yield (
                self._x[chosen].to(self._device, non_blocking=True),
                self._y[chosen].to(self._device, non_blocking=True),
            )


class _LoaderBatches:
    def __init__(self, loader: DataLoader[Any], device: torch.device, drop_single: bool) -> None:
        self.loader = loader
        self._device = device
        self._drop_single = drop_single

    def __iter__(self) -> Iterator[Batch]:
        previous = 0
        for batch in self.loader:
            x, y = _convert(_checked_pair(batch))
            if self._drop_single and len(x) == 1 and previous > 1:
                continue
            previous = len(x)
            yield x.to(self._device, non_blocking=True), y.to(self._device, non_blocking=True)


def _order_generator(batches: Iterable[Batch]) -> torch.Generator | None:
    if isinstance(batches, _TensorBatches):
        return batches.generator
    if isinstance(batches, _LoaderBatches):
        loader = batches.loader
        owned = (getattr(owner, "generator", None) for owner in (loader, getattr(loader, "sampler", None)))
        return next((generator for generator in owned if generator is not None), None)
    return None


def _as_tensors(split: Split) -> TensorSplit | None:
    if isinstance(split, TensorSplit):
        return split
    # Fetching and collating single examples out of tensors costs more than a small network's step. Exact types only:
    # a subclass may do something else on access.
    if type(split) is TensorDataset and len(split.tensors) == 2:
        return TensorSplit(*_convert(split.tensors))
    if type(split) is Subset and type(split.dataset) is TensorDataset and len(split.dataset.tensors) == 2:
        x, y = split.dataset.tensors
        chosen = torch.as_tensor(list(split.indices), dtype=torch.int64)
        return TensorSplit(*_convert((x[chosen], y[chosen])))
    return None


def _seeded(loader: DataLoader[Any], seed: int | None) -> DataLoader[Any]:
    for owner in (loader, getattr(loader, "sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed or 0)
    return loader


_SINGLE = {torch.float64: torch.float32, torch.complex128: torch.complex64}


def _convert(pair: tuple[Tensor, ...]) -> Batch:
    x, y = (part.to(_SINGLE.get(part.dtype, part.dtype)) for part in pair)
    integer = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    return x, y.long() if integer else y


def _checked_pair(batch: object) -> Batch:
    # Called for every batch: the common case is decided first.
    if isinstance(batch, list | tuple) and len(batch) == 2:
        x, y = batch
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x.dim() and y.dim() and len(x) == len(y):
            if len(x) == 0:
                raise _empty()
            return x, y
    raise TaskError(
        "a batch is no pair of inputs and targets",
        where="task",
        given=_described(batch),
        expected="(x, y): two tensors with the same number of examples",
        fix="make the dataset return (x, y) for each example",
    )


def _empty() -> TaskError:
    return TaskError("the split has no examples", where="task", fix="make it larger")


def _described(batch: object) -> str:
    if isinstance(batch, Tensor):
        return f"a tensor of shape {tuple(batch.shape)}"
    if isinstance(batch, list | tuple):
        return f"{type(batch).__name__} of {', '.join(_described(part) for part in batch[:4]) or 'nothing'}"
    return f"a {type(batch).__name__}"
