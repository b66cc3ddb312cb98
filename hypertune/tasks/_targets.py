"""Targets as a user has them -> one array of booleans, integers, floats or text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from hypertune.errors import TaskError

__all__ = ["target_array"]

_EXPECTED = "whole numbers, booleans or text for classes, floats for a regression"


def target_array(y: Any, where: str) -> NDArray[Any]:
    """Return a user's targets as an array ``(n,)`` or ``(n, k)`` of bool, integers, floats or text.

    Args:
        y: Tensor, array, Series, DataFrame or list.
        where: Dotted path for error messages.

    Raises:
        TaskError: A target is missing or infinite, the type is another, or there is a third axis.
    """
    values = _array(y, where)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2):
        raise TaskError(
            "targets have a wrong shape",
            where=where,
            given=values.shape,
            expected="(n,), or (n, targets) for a regression",
            fix="reshape them",
        )
    if values.dtype.kind == "O":
        values = _from_objects(values, where)
    if values.dtype.kind not in "biufU":
        raise TaskError(
            "targets have an unsupported type",
            where=where,
            given=str(values.dtype),
            expected=_EXPECTED,
            fix="convert them before returning them",
        )
    if values.dtype.kind == "f":
        _check_present(~np.isfinite(values), where)
    return values


def _array(y: Any, where: str) -> NDArray[Any]:
    if isinstance(y, Tensor):
        tensor = y.detach().cpu()
        return np.asarray(tensor.float() if tensor.is_floating_point() else tensor)
    if isinstance(y, pd.DataFrame):
        return np.column_stack([_array(y[name], where) for name in y]) if y.shape[1] else y.to_numpy()
    if isinstance(y, pd.Series):
        _check_present(y.isna().to_numpy(), where)
        if isinstance(y.dtype, np.dtype):
            return y.to_numpy()
        # Categories, strings and nullable numbers come out as the plain values they stand for.
        return np.array(y.tolist(), dtype=object)
    try:
        return np.asarray(y)
    except ValueError as error:  # ragged lists
        raise TaskError(
            "targets are not an array", where=where, given=type(y).__name__, expected="one target per example"
        ) from error


def _from_objects(values: NDArray[Any], where: str) -> NDArray[Any]:
    _check_present(np.asarray(pd.isna(values)), where)
    # One type for all, or numpy would turn numbers among text into text.
    types = {type(value) for value in values.ravel().tolist()}
    if all(issubclass(kind, str) for kind in types):
        return values.astype(str)
    if all(issubclass(kind, bool | np.bool_) for kind in types):
        return values.astype(bool)
    if all(issubclass(kind, int | np.integer) and kind is not bool for kind in types):
        return values.astype(np.int64)
    if all(issubclass(kind, int | float | np.number) and kind is not bool for kind in types):
        return values.astype(np.float64)
    raise TaskError(
        "targets are of mixed or unsupported types",
        where=where,
        given=", ".join(sorted(kind.__name__ for kind in types)),
        expected=_EXPECTED,
        fix="convert them before returning them",
    )


def _check_present(missing: NDArray[Any], where: str) -> None:
    if missing.any():
        raise TaskError(
            f"{int(missing.sum())} targets are missing (NaN) or infinite, the first in example "
            f"{int(np.argwhere(missing)[0][0])}",
            where=where,
            fix="drop these examples",
        )
