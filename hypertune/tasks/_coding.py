"""How targets become tensors: classes numbered from 0, or real values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypertune.errors import TaskError
from hypertune.records import TaskKind

__all__ = ["TargetCoding", "fit_targets", "inferred_kind"]

_FEW_PER_CLASS = 5
_MANY_CLASSES = 20


@dataclass(frozen=True, slots=True)
class TargetCoding:
    """The coding of a task's targets, fixed on the training split.

    Attributes:
        kind: What the targets are.
        output_size: Number of classes, or of real targets.
        classes: Class index of each label; None when the labels are the indices.
    """

    kind: TaskKind
    output_size: int
    classes: Mapping[Any, int] | None = None

    def encode(self, values: NDArray[Any], where: str) -> Tensor:
        """Return ``(n,)`` int64 classes or ``(n, output_size)`` float32 values.

        Args:
            values: What `target_array` returned.
            where: Dotted path for error messages.

        Raises:
            TaskError: A class does not occur in training, or the targets are of another kind or number.
        """
        if self.kind == "regression":
            return self._real(values, where)
        labels = _labels(values, where)
        if self.classes is None:
            _check_range(labels, self.output_size, where)
            return torch.from_numpy(labels.astype(np.int64))
        unseen = sorted({label for label in labels.tolist() if label not in self.classes}, key=str)
        if unseen:
            raise TaskError(
                "classes do not occur in the training split",
                where=where,
                given=unseen,
                expected=f"some of {list(self.classes)}" if len(self.classes) <= 20 else "classes seen in training",
                fix="split the data so that training has every class, or drop these examples",
            )
        return torch.tensor([self.classes[label] for label in labels.tolist()], dtype=torch.int64)

    def _real(self, values: NDArray[Any], where: str) -> Tensor:
        if values.dtype.kind not in "biuf":
            raise TaskError(
                "targets of a regression are not numbers",
                where=where,
                given=str(values.dtype),
                expected="floats or whole numbers",
                fix="convert them, or set `kind: classification`",
            )
        columns = values.reshape(len(values), -1).astype(np.float32)
        if columns.shape[1] != self.output_size:
            raise TaskError(
                "wrong number of targets",
                where=where,
                given=f"{columns.shape[1]} per example",
                expected=f"{self.output_size} per example",
                fix="give every split the same targets, and `output_size` their number",
            )
        return torch.from_numpy(columns)


def inferred_kind(values: NDArray[Any]) -> TaskKind:
    """Return what targets are taken for when nothing is said: floats are real targets, all else is classes."""
    return "regression" if values.dtype.kind == "f" else "classification"


def fit_targets(values: NDArray[Any], *, kind: TaskKind | None, output_size: int | None, where: str) -> TargetCoding:
    """Return the coding of the training targets.

    Args:
        values: What `target_array` returned for the training split.
        kind: What the targets are; by default whole numbers, booleans and text are classes and floats real values.
        output_size: Number of classes or targets; by default what occurs. With it, integer classes are class indices
            already.
        where: Dotted path for error messages.

    Raises:
        TaskError: The targets do not fit ``kind`` or ``output_size``, all are of one class, or integers may be either.
    """
    if (kind or inferred_kind(values)) == "regression":
        return TargetCoding("regression", output_size or (1 if values.ndim == 1 else values.shape[1]))
    labels = _labels(values, where)
    present = np.unique(labels)
    if len(present) < 2:
        raise TaskError(
            "all training targets are of one class",
            where=where,
            given=present.tolist(),
            expected="at least two classes",
            fix="check the target, or set `kind: regression`",
        )
    if kind is None and len(present) > max(_MANY_CLASSES, len(labels) / _FEW_PER_CLASS):
        raise TaskError(
            "targets may be classes or quantities",
            where=where,
            given=f"{len(present)} different values in {len(labels)} examples",
            fix="set `kind` to classification or regression",
        )
    integers = labels.dtype.kind in "iu"
    if output_size is not None and integers:
        _check_range(labels, output_size, where)
        return TargetCoding("classification", output_size)
    if output_size is not None and output_size != len(present):
        raise TaskError(
            "number of classes does not fit",
            where="task.output_size",
            given=output_size,
            expected=f"{len(present)}, the classes of the training split",
            fix="leave it out",
        )
    classes = {label: index for index, label in enumerate(present.tolist())}
    return TargetCoding("classification", len(classes), classes)


def _labels(values: NDArray[Any], where: str) -> NDArray[Any]:
    if values.ndim == 2:
        raise TaskError(
            "classification needs one class per example",
            where=where,
            given=values.shape,
            expected="(n,)",
            fix="turn one-hot rows into classes with argmax(axis=1), or set `kind: regression`",
        )
    if values.dtype.kind != "f":
        return values
    if (values != np.round(values)).any():
        raise TaskError(
            "classes are fractions",
            where=where,
            given=float(values[values != np.round(values)][0]),
            expected="whole numbers, booleans or text",
            fix="set `kind: regression`, or convert the targets",
        )
    return values.astype(np.int64)


def _check_range(labels: NDArray[Any], output_size: int, where: str) -> None:
    if labels.dtype.kind not in "biu" or labels.min() < 0 or labels.max() >= output_size:
        raise TaskError(
            "targets are not class indices",
            where=where,
            given=np.unique(labels)[[0, -1]].tolist(),
            expected=f"whole numbers from 0 to {output_size - 1}",
            fix="encode the classes from 0, or correct `output_size`",
        )
