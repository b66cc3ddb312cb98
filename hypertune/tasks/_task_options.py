"""What a user's task mapping may say beside the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hypertune.errors import TaskError, did_you_mean
from hypertune.records import TaskKind
from hypertune.tasks._losses import default_loss, default_metrics
from hypertune.tasks.contract import Loss, Metric

__all__ = ["FORMS", "SPLITS", "check_keys", "read_kind", "read_loss", "read_metrics", "read_output_size"]

SPLITS = ("train", "val", "test", "tune")
_KINDS: tuple[TaskKind, ...] = ("classification", "regression")
_OPTIONS = ("kind", "loss", "metrics", "input_shape", "output_size")
FORMS = (
    "a Task, a mapping with 'train' and 'val' (and 'test', 'tune') of (x, y) pairs, Datasets or DataLoaders, one "
    "(x, y) pair, or {'data': DataFrame, 'target': column}"
)


def check_keys(candidate: Mapping[Any, Any]) -> None:
    """Refuse unknown keys, keys that exclude each other, and a missing split.

    Raises:
        TaskError: The keys are not those of one of `FORMS`.
    """
    known = (*SPLITS, "data", "target", *_OPTIONS)
    for key in candidate:
        if key not in known:
            raise TaskError(f"unknown key {key!r}", where=f"task.{key}", fix=did_you_mean(key, known))
    both = "data" in candidate and any(split in candidate for split in SPLITS)
    if both or ("target" in candidate and "data" not in candidate):
        raise TaskError(
            "keys that exclude each other",
            where="task",
            given=sorted(candidate),
            expected="either 'train', 'val' and perhaps 'test', or 'data' and perhaps 'target'",
            fix="drop the others",
        )
    if "data" in candidate:
        return
    for split in ("train", "val"):
        if candidate.get(split) is None:
            raise TaskError(
                f"the {'training' if split == 'train' else 'validation'} split is missing",
                where=f"task.{split}",
                expected=FORMS,
                fix=f"add {split!r}, or return one (x, y) pair to have it split 60/20/20",
            )


def read_kind(kind: Any) -> TaskKind | None:
    """Return the given kind; None when there is none.

    Raises:
        TaskError: It is another word.
    """
    if kind is None:
        return None
    for known in _KINDS:
        if kind == known:
            return known
    raise TaskError(
        "unknown kind of task",
        where="task.kind",
        given=kind,
        expected="classification or regression",
        fix=did_you_mean(kind, _KINDS),
    )


def read_output_size(size: Any) -> int | None:
    """Return the given output size; None when there is none.

    Raises:
        TaskError: It is no whole number of at least 1.
    """
    if size is None or (isinstance(size, int | np.integer) and not isinstance(size, bool) and size >= 1):
        return None if size is None else int(size)
    raise TaskError(
        "not a size",
        where="task.output_size",
        given=size,
        expected="the number of classes, or of real targets",
    )


def read_loss(loss: Any, kind: TaskKind) -> Loss:
    """Return the given loss, or the kind's default.

    Raises:
        TaskError: It is no function, or a torch loss that averages over the batch.
    """
    if loss is None:
        return default_loss(kind)
    if not callable(loss) or getattr(loss, "reduction", "none") != "none":
        raise TaskError(
            "not a loss per example",
            where="task.loss",
            given=loss,
            expected="loss(outputs, targets) -> (batch,)",
            fix="use reduction='none'" if callable(loss) else "give a function",
        )
    checked: Loss = loss
    return checked


def read_metrics(metrics: Any, kind: TaskKind) -> dict[str, Metric]:
    """Return the given metrics, or the kind's defaults.

    Raises:
        TaskError: They are no mapping of names to functions.
    """
    if metrics is None:
        return default_metrics(kind)
    named = isinstance(metrics, Mapping) and all(isinstance(key, str) for key in metrics)
    if not named or not all(callable(metric) for metric in metrics.values()):
        raise TaskError(
            "not a mapping of metrics",
            where="task.metrics",
            given=metrics,
            expected="name -> metric(outputs, targets) -> scalar",
            fix="for example {'accuracy': function}",
        )
    return dict(metrics)
