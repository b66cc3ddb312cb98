"""What the examples of a Dataset or DataLoader look like, without reading more of it than needed."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from hypertune.errors import TaskError
from hypertune.tasks._targets import target_array

__all__ = ["Stream", "count_classes", "read_stream"]

_FEW_EXAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Stream:
    """A split that is read example by example, and what its first examples are.

    Attributes:
        split: What the training loop iterates.
        input_shape: Shape of one input.
        targets: The first targets, as `target_array` returns them.
        is_complex: Whether the inputs are complex.
    """

    split: Dataset[Any] | DataLoader[Any]
    input_shape: tuple[int, ...]
    targets: Any
    is_complex: bool = False


def read_stream(source: Dataset[Any] | DataLoader[Any], where: str) -> Stream:
    """Look at the first example of a Dataset, or the first batch of a DataLoader.

    Double precision may stay: the training loop converts batch by batch.

    Raises:
        TaskError: There is no example, or it is no ``(x, y)`` pair of tensors, arrays or numbers.
    """
    with torch.random.fork_rng(devices=[]):  # looking must not shift anybody's random numbers
        first = _first(source, where)
    if not isinstance(first, tuple | list) or len(first) != 2:
        raise TaskError(
            "examples are not (x, y) pairs",
            where=where,
            given=type(first).__name__,
            expected="x and y, both tensors, arrays or numbers",
            fix="make the Dataset return (input, target)",
        )
    x, y = first
    if not isinstance(x, Tensor | np.ndarray):
        raise TaskError(
            "inputs are not tensors",
            where=where,
            given=type(x).__name__,
            expected="a tensor or an array",
            fix="convert them in the Dataset, for example with torchvision's ToTensor",
        )
    batched = isinstance(source, DataLoader)
    targets = target_array(y if batched else np.asarray(y)[None], f"{where}.y")
    shape = tuple(x.shape[1:] if batched else x.shape)
    if not shape:
        raise TaskError(
            "inputs have no feature axis",
            where=where,
            given=tuple(x.shape),
            expected="(features,) or (channels, ...) per example",
            fix="for a single feature return x[None]",
        )
    is_complex = x.is_complex() if isinstance(x, Tensor) else np.iscomplexobj(x)
    return Stream(source, shape, targets, bool(is_complex))


def count_classes(source: Dataset[Any] | DataLoader[Any]) -> int:
    """Return the number of classes of a Dataset, or of the one behind a DataLoader.

    Taken from its ``classes`` (as torchvision's have them), its ``targets``, or by reading it if it is short.

    Raises:
        TaskError: None of the three is possible, or classes are no whole numbers from 0.
    """
    examples: Any = source.dataset if isinstance(source, DataLoader) else source
    whole: Any = examples.dataset if isinstance(examples, Subset) else examples
    classes = getattr(whole, "classes", None)
    if isinstance(classes, Sized) and not isinstance(classes, str):
        return len(classes)
    targets = getattr(whole, "targets", None)
    if targets is None:
        if isinstance(examples, IterableDataset) or len(examples) > _FEW_EXAMPLES:
            raise TaskError(
                "the number of classes is not known",
                where="task.output_size",
                expected="the number of classes",
                fix="add 'output_size' beside 'train' and 'val'",
            )
        with torch.random.fork_rng(devices=[]):
            targets = np.array([np.asarray(examples[index][1]) for index in range(len(examples))])
    values = target_array(targets, "task.train.y")
    if values.dtype.kind not in "biu" or values.min() < 0:
        raise TaskError(
            "targets of a Dataset are not class indices",
            where="task.train.y",
            given=str(values.dtype) if values.dtype.kind not in "biu" else int(values.min()),
            expected="whole numbers from 0",
            fix="encode the classes in the Dataset",
        )
    return int(values.max()) + 1


def _first(source: Dataset[Any] | DataLoader[Any], where: str) -> Any:
    if not isinstance(source, DataLoader | IterableDataset) and not isinstance(source, Sized):
        raise TaskError(
            "the Dataset has no length",
            where=where,
            given=type(source).__name__,
            expected="a Dataset with __len__ and __getitem__, or an IterableDataset",
            fix="define __len__",
        )
    try:
        if isinstance(source, DataLoader | IterableDataset):
            return next(iter(source))
        if len(source) > 0:
            return source[0]
    except StopIteration:
        pass
    except Exception as error:
        raise TaskError(
            f"the first example cannot be read: {type(error).__name__}: {error}",
            where=where,
            fix="make the Dataset yield (x, y)",
        ) from error
    raise TaskError(
        "the split is empty", where=where, expected="at least one example", fix="check how the data are loaded"
    )
