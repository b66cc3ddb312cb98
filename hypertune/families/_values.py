"""Hyperparameter values as a family reads them: a default when absent, a `FamilyError` when wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypertune.errors import FamilyError, did_you_mean
from hypertune.records import Params

__all__ = ["read_choice", "read_factor", "read_fraction", "read_odd", "read_size"]


def read_size(params: Params, name: str, default: int, *, low: int = 1) -> int:
    """Return a whole number of at least ``low``.

    Raises:
        FamilyError: The value is not one.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise FamilyError(
            "not a size", where=f"family.{name}", given=value, expected=f"a whole number of at least {low}"
        )
    return value


def read_odd(params: Params, name: str, default: int) -> int:
    """Return an odd whole number of at least 1, such as the side of a kernel with a centre.

    Raises:
        FamilyError: The value is not one.
    """
    value = read_size(params, name, default)
    if value % 2 == 0:
        raise FamilyError(
            f"an even {name} has no centre",
            where=f"family.{name}",
            given=value,
            expected="an odd number of cells",
            fix=f"use {value - 1} or {value + 1}",
        )
    return value


def read_fraction(params: Params, name: str, default: float) -> float:
    """Return a number in [0, 1).

    Raises:
        FamilyError: The value is not one.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < 1.0:
        raise FamilyError("not a rate", where=f"family.{name}", given=value, expected="a number in [0, 1)")
    return float(value)


def read_factor(params: Params, name: str, default: float) -> float:
    """Return a finite number of at least 0, such as the weight of a loss.

    Raises:
        FamilyError: The value is not one.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise FamilyError("not a factor", where=f"family.{name}", given=value, expected="a finite number of at least 0")
    return float(value)


def read_choice(params: Params, name: str, default: str, choices: Sequence[str]) -> str:
    """Return one of ``choices``.

    Raises:
        FamilyError: The value is another.
    """
    value = params.get(name, default)
    if not isinstance(value, str) or value not in choices:
        raise FamilyError(
            f"unknown {name}",
            where=f"family.{name}",
            given=value,
            expected=f"one of {', '.join(choices)}",
            fix=did_you_mean(value, choices),
        )
    return value
