"""Levels, accuracies and counts that every bound takes."""

from __future__ import annotations

import math
import operator

from hypertune.errors import ConfigError

__all__ = ["check_count", "check_delta", "check_epsilon", "check_log2"]


def check_delta(delta: float, where: str = "delta") -> float:
    """Return the probability of error ``delta``, which lies strictly between 0 and 1."""
    return _inside(delta, where, "the probability that the bound is wrong, above 0 and below 1", "use 0.05")


def check_epsilon(epsilon: float, where: str = "epsilon") -> float:
    """Return the accuracy ``epsilon``, which lies strictly between 0 and 1."""
    return _inside(epsilon, where, "a difference between two utilities in [0, 1], above 0 and below 1", "use 0.05")


def check_count(count: int, where: str, least: int = 1) -> int:
    """Return ``count`` as an int that is at least ``least``.

    Raises:
        ConfigError: It is no whole number, or too small.
    """
    try:
        value = operator.index(count)
    except TypeError:
        value = least - 1
    if isinstance(count, bool) or value < least:
        raise ConfigError("is not a usable count", where=where, given=count, expected=f"a whole number from {least}")
    return value


def check_log2(log2: float, where: str) -> float:
    """Return the base-2 logarithm of a count that is at least 1."""
    if not 0 <= log2 < math.inf:
        raise ConfigError("is not the logarithm of a count", where=where, given=log2, expected="a number from 0")
    return float(log2)


def _inside(value: float, where: str, expected: str, fix: str) -> float:
    if not 0 < value < 1:  # NaN is not inside either
        raise ConfigError("is out of range", where=where, given=value, expected=expected, fix=fix)
    return float(value)
