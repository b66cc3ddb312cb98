"""Utilities of candidates on tasks: what makes them fit for a bound."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.errors import BoundError, TaskError, did_you_mean

__all__ = ["INDEPENDENT", "TaskOrigin", "check_origin", "check_utilities", "scale_utilities"]

TaskOrigin: TypeAlias = Literal["independent", "folds", "overlapping"]
"""Where tasks come from: independent draws, folds of one data set, or tasks that share rows or are listed by hand."""

INDEPENDENT = "the tasks are independent draws from the distribution that future tasks come from"

_ORIGINS = ("independent", "folds", "overlapping")
_ROUNDING = 1e-12


def scale_utilities(values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """Map ``[low, high]`` to ``[0, 1]`` and clip what lies outside.

    The limits must be fixed before the first task is seen: limits taken from the values themselves void every bound.
    Clipping changes the target: a certificate then speaks of the mean of the clipped utility.

    Args:
        values: Utilities in any shape and unit; NaN is not allowed.
        low: Value that maps to 0; for a loss, where smaller is better, the largest loss that still counts.
        high: Value that maps to 1; below ``low`` for a loss.

    Returns:
        Array of the same shape in [0, 1].

    Raises:
        TaskError: The limits are equal or not finite, or a value is NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(low) and np.isfinite(high)) or low == high:
        raise TaskError("limits span no range", where="low, high", given=(low, high), expected="two finite limits")
    if np.isnan(array).any():
        raise TaskError("have NaN among them", where="utilities", fix="leave the failed task out for every candidate")
    return np.clip((array - low) / (high - low), 0.0, 1.0)


def check_utilities(values: ArrayLike, least: int = 2) -> NDArray[np.float64]:
    """Return utilities as float64 with the tasks along the first axis.

    Args:
        values: ``(tasks,)`` or ``(tasks, ...)``, all in [0, 1].
        least: Fewest tasks that will do.

    Raises:
        TaskError: Fewer than ``least`` tasks, or values that are not finite or outside [0, 1].
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or len(array) < least:
        raise TaskError(
            "too few tasks to say anything about others",
            where="utilities",
            given=len(array) if array.ndim else 0,
            expected=f"at least {least} tasks, along the first axis",
            fix="configure more tasks",
        )
    if not np.isfinite(array).all():
        raise TaskError(
            "are not all finite",
            where="utilities",
            given=f"{np.count_nonzero(~np.isfinite(array))} values that are NaN or infinite",
            fix="leave the failed task out for every candidate, and report it",
        )
    if array.size and (array.min() < -_ROUNDING or array.max() > 1 + _ROUNDING):
        raise TaskError(
            "lie outside [0, 1]",
            where="utilities",
            given=f"values from {array.min():.6g} to {array.max():.6g}",
            expected="values in [0, 1], larger is better",
            fix="use scale_utilities(values, low, high) with limits fixed before the first task: an accuracy needs "
            "none, an error rate is low=1, high=0, a loss is clipped at a limit chosen beforehand, never at the "
            "smallest and largest value seen",
        )
    return np.clip(array, 0.0, 1.0)


def check_origin(tasks: TaskOrigin) -> None:
    """Refuse tasks that are not independent draws.

    Raises:
        BoundError: The tasks are folds, overlap, or their origin has an unknown name.
    """
    if tasks not in _ORIGINS:
        raise BoundError("is no origin of tasks", where="tasks", given=tasks, fix=did_you_mean(tasks, _ORIGINS))
    if tasks != "independent":
        kind = "folds of one data set share rows" if tasks == "folds" else "overlapping or listed tasks are no sample"
        raise BoundError(
            f"the bound does not apply: {kind}, so their utilities are not independent",
            where="tasks",
            given=tasks,
            expected="independent draws of tasks",
            fix="draw tasks with a random generator (data set, classes, features, rows, noise), or certify a study of "
            "one task on its own validation examples",
        )
