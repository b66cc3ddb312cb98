"""Inputs as a user has them -> one tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hypertune.errors import TaskError

__all__ = ["input_tensor"]


def input_tensor(x: Any, where: str) -> Tensor:
    """Return a user's inputs as a tensor ``(n, *input_shape)``.

    Arrays and DataFrames become float32 (or complex64), and so do tensors, except those of whole numbers wider than a
    byte: a tensor of int64 token indices still fits an embedding. Values are neither scaled nor standardised.

    Args:
        x: Tensor, array, DataFrame, or nested lists of numbers.
        where: Dotted path for error messages.

    Raises:
        TaskError: A column or the array is not numeric, a value is missing or infinite, there is no example, or there
            is no feature axis.
    """
    tensor = _tensor(x, where)
    if tensor.ndim < 2:
        raise TaskError(
            "inputs have no feature axis",
            where=where,
            given=tuple(tensor.shape),
            expected="(n, features) or (n, channels, ...)",
            fix="for a single feature use x[:, None]",
        )
    if tensor.numel() == 0:
        raise TaskError(
            "the split is empty",
            where=where,
            given=tuple(tensor.shape),
            expected="at least one example and one feature",
            fix="check how the data are loaded and split",
        )
    if tensor.is_floating_point() or tensor.is_complex():
        wrong = ~torch.isfinite(tensor)
        if wrong.any():
            examples = wrong.flatten(1).any(dim=1).nonzero().flatten()
            raise TaskError(
                f"{int(wrong.sum())} inputs are missing (NaN) or infinite, the first in example "
                f"{int(examples[0])}{_column(x, wrong)}",
                where=where,
                fix="drop these examples or fill the values in",
            )
    return tensor


def _tensor(x: Any, where: str) -> Tensor:
    if isinstance(x, Tensor):
        if x.dtype in (torch.bool, torch.uint8):
            return x.float()
        return _single_precision(x.detach())
    if isinstance(x, pd.Series):
        x = x.to_frame()
    if isinstance(x, pd.DataFrame):
        return _from_frame(x, where)
    try:
        array = np.asarray(x)
    except ValueError as error:  # ragged lists
        raise _unfit(x, where) from error
    if array.dtype.kind not in "biufc":
        raise _unfit(x, where)
    if array.dtype.kind == "c":
        return torch.from_numpy(array.astype(np.complex64))
    return torch.from_numpy(array.astype(np.float32))


def _single_precision(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        return tensor.float()
    return tensor.to(torch.complex64) if tensor.is_complex() else tensor


def _from_frame(frame: pd.DataFrame, where: str) -> Tensor:
    for name, dtype in frame.dtypes.items():
        if not (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)):
            raise TaskError(
                f"column {name!r} is not numeric",
                where=where,
                given=str(dtype),
                expected="numbers or booleans",
                fix="encode it, for example with pandas.get_dummies, or drop it",
            )
    # A copy: pandas may lend its own memory read-only.
    return torch.from_numpy(np.array(frame.to_numpy(dtype=np.float32, na_value=np.nan)))


def _column(x: Any, wrong: Tensor) -> str:
    if not isinstance(x, pd.DataFrame):
        return ""
    return f", column {x.columns[int(wrong.any(dim=0).nonzero()[0])]!r}"


def _unfit(x: Any, where: str) -> TaskError:
    return TaskError(
        "inputs are not an array of numbers",
        where=where,
        given=getattr(x, "dtype", type(x).__name__),
        expected="a tensor, a numeric array or a DataFrame",
        fix="convert them before returning them",
    )
