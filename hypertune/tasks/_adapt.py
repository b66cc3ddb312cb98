"""What a user's task function returns -> a `Task`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from hypertune.errors import TaskError, did_you_mean
from hypertune.records import InputType, TaskKind, TaskSpec
from hypertune.tasks._coding import TargetCoding, fit_targets, inferred_kind
from hypertune.tasks._inputs import input_tensor
from hypertune.tasks._splits import split_indices
from hypertune.tasks._streams import Stream, count_classes, read_stream
from hypertune.tasks._targets import target_array
from hypertune.tasks._task_options import (
    FORMS,
    SPLITS,
    check_keys,
    read_kind,
    read_loss,
    read_metrics,
    read_output_size,
)
from hypertune.tasks.contract import Split, Task, TensorSplit

__all__ = ["as_task"]


def as_task(candidate: Any, *, name: str) -> Task:
    """Return ``candidate`` as a `Task`.

    It is one of:

    - a `Task`, returned as it is;
    - a mapping with ``train``, ``val`` and optionally ``test`` and ``tune``, each an ``(x, y)`` pair of tensors,
      arrays, DataFrame and Series, or a `TensorSplit`, a torch Dataset or a DataLoader;
    - one ``(x, y)`` pair, alone or as ``{'data': (x, y)}``, or ``{'data': DataFrame, 'target': column}``: split
      60/20/20 with a fixed seed, stratified by class.

    A mapping may also give ``kind`` (``classification`` or ``regression``), ``loss`` (per example), ``metrics`` (name
    -> function of outputs and targets), ``input_shape`` and ``output_size``; what is not given is inferred: whole
    numbers, booleans, text and categories are classes, floats are real targets. Classes are numbered in sorted order
    of their labels in the training split, unless ``output_size`` says that whole numbers are class indices already. A
    Dataset or DataLoader must yield class indices.

    Data stay as given: nothing is standardised or scaled. Double precision becomes single; of a Dataset or DataLoader
    the training loop converts the batches.

    Args:
        candidate: What the user's function returned.
        name: The task's name.

    Raises:
        TaskError: The form is another, or the data are empty, of different lengths, missing, not numeric, or
            inconsistent between the splits.
    """
    if isinstance(candidate, Task):
        return candidate
    if _is_pair(candidate):
        candidate = {"data": candidate}
    if not isinstance(candidate, Mapping):
        raise TaskError(
            "not a task",
            where="task",
            given=type(candidate).__name__,
            expected=FORMS,
            fix=f"make {name!r} return one of these",
        )
    check_keys(candidate)
    kind = read_kind(candidate.get("kind"))
    output_size = read_output_size(candidate.get("output_size"))
    if "data" in candidate:
        sources, coding = _split(*_data_pair(candidate), kind, output_size)
    else:
        sources = {
            split: _source(candidate[split], f"task.{split}") for split in SPLITS if candidate.get(split) is not None
        }
        coding = _coding(sources["train"], kind, output_size)
    splits = {split: _finished(source, coding, f"task.{split}") for split, source in sources.items()}
    shapes = {split: _input_shape(source) for split, source in sources.items()}
    shape = _common_shape(shapes, candidate.get("input_shape"))
    spec = TaskSpec(name, coding.kind, shape, coding.output_size, _input_type(sources))
    return Task(
        spec,
        splits["train"],
        splits["val"],
        splits.get("test"),
        read_loss(candidate.get("loss"), coding.kind),
        read_metrics(candidate.get("metrics"), coding.kind),
        splits.get("tune"),
    )


class _Pair:
    """An ``(x, y)`` pair after its checks: inputs as a tensor, targets as an array that is not encoded yet."""

    def __init__(self, x: Any, y: Any, where: str) -> None:
        self.x = input_tensor(x, f"{where}.x")
        self.y = target_array(y, f"{where}.y")
        if len(self.x) != len(self.y):
            raise TaskError(
                "inputs and targets differ in length",
                where=where,
                given=f"{len(self.x)} inputs, {len(self.y)} targets",
                expected="one target per input",
                fix="check how they are loaded",
            )


def _source(value: Any, where: str) -> _Pair | Stream:
    if isinstance(value, TensorSplit):
        return _Pair(value.x, value.y, where)
    if isinstance(value, TensorDataset) and _is_pair(value.tensors):
        return _Pair(value.tensors[0], value.tensors[1], where)
    if isinstance(value, Dataset | DataLoader):
        return read_stream(value, where)
    if _is_pair(value):
        return _Pair(value[0], value[1], where)
    raise TaskError(
        "not a split",
        where=where,
        given=type(value).__name__,
        expected="an (x, y) pair, a Dataset or a DataLoader",
        fix="return the inputs and the targets as a pair",
    )


def _coding(train: _Pair | Stream, kind: TaskKind | None, output_size: int | None) -> TargetCoding:
    if isinstance(train, _Pair):
        return fit_targets(train.y, kind=kind, output_size=output_size, where="task.train.y")
    targets = train.targets
    if (kind or inferred_kind(targets)) == "regression":
        return fit_targets(targets, kind="regression", output_size=output_size, where="task.train.y")
    return TargetCoding("classification", output_size or count_classes(train.split))


def _finished(source: _Pair | Stream, coding: TargetCoding, where: str) -> Split:
    if isinstance(source, _Pair):
        return TensorSplit(source.x, coding.encode(source.y, f"{where}.y"))
    coding.encode(source.targets, f"{where}.y")  # the first targets stand for the rest
    return source.split


def _data_pair(candidate: Mapping[str, Any]) -> tuple[Any, Any]:
    data, target = candidate["data"], candidate.get("target")
    if target is None and _is_pair(data):
        return data[0], data[1]
    if not isinstance(data, pd.DataFrame) or target is None:
        raise TaskError(
            "data without a target",
            where="task.data",
            given=type(data).__name__,
            expected="a DataFrame with 'target' naming a column, or an (x, y) pair",
            fix="add 'target'" if isinstance(data, pd.DataFrame) else "return the pair without 'target'",
        )
    if target not in data.columns:
        raise TaskError(
            "the DataFrame has no such column",
            where="task.target",
            given=target,
            fix=did_you_mean(target, map(str, data.columns)),
        )
    return data.drop(columns=target), data[target]


def _split(
    x: Any, y: Any, kind: TaskKind | None, output_size: int | None
) -> tuple[dict[str, _Pair | Stream], TargetCoding]:
    whole = _Pair(x, y, "task.data")
    coding = fit_targets(whole.y, kind=kind, output_size=output_size, where="task.data.y")
    encoded = coding.encode(whole.y, "task.data.y")
    classes = encoded.numpy() if coding.kind == "classification" else None
    parts = split_indices(len(whole.x), classes=classes)
    return {
        split: _Pair(whole.x[torch.from_numpy(chosen)], whole.y[chosen], f"task.{split}")
        for split, chosen in zip(SPLITS[:3], parts, strict=True)
    }, coding


def _input_shape(source: _Pair | Stream) -> tuple[int, ...]:
    return tuple(source.x.shape[1:]) if isinstance(source, _Pair) else source.input_shape


def _input_type(sources: Mapping[str, _Pair | Stream]) -> InputType:
    """Return complex64 when the inputs are complex, in all splits or in none."""
    is_complex = {
        split: source.x.is_complex() if isinstance(source, _Pair) else source.is_complex
        for split, source in sources.items()
    }
    for split, found in is_complex.items():
        if found != is_complex["train"]:
            raise TaskError(
                "inputs differ in type from the training split",
                where=f"task.{split}",
                given="complex numbers" if found else "real numbers",
                expected="complex numbers" if is_complex["train"] else "real numbers",
                fix="prepare every split in the same way",
            )
    return "complex64" if is_complex["train"] else "float32"


def _common_shape(shapes: Mapping[str, tuple[int, ...]], given: Any) -> tuple[int, ...]:
    expected = shapes["train"]
    if given is not None:
        sizes = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
        if sizes != expected:
            raise TaskError(
                "inputs are of another shape",
                where="task.input_shape",
                given=given,
                expected=f"{expected}, as in the training split",
                fix="leave it out, or reshape the inputs",
            )
    for split, shape in shapes.items():
        if shape != expected:
            raise TaskError(
                "inputs differ in shape from the training split",
                where=f"task.{split}",
                given=shape,
                expected=str(expected),
                fix="prepare every split in the same way",
            )
    return expected


def _is_pair(value: Any) -> bool:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    return not any(isinstance(part, str | int | float | Mapping | Dataset | DataLoader | TensorSplit) for part in value)
