"""Where the utility of one task jumps as one hyperparameter moves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from hypertune.bounds._checks import check_count
from hypertune.bounds.dual import DualFunction
from hypertune.errors import ConfigError

__all__ = ["enumerate_crossings", "enumerate_pieces", "subdivide"]

Scalar = Callable[[float], float]


def enumerate_pieces(utility: Scalar, breakpoints: Iterable[float], low: float, high: float) -> DualFunction:
    """Evaluate a utility once between neighbouring breakpoints that are known to be all there are.

    Args:
        utility: Of the task at a value of the hyperparameter.
        breakpoints: All places where it may jump, in any order, repeated or outside the range or not.
        low: Lower end of the range.
        high: Upper end.

    Returns:
        The step function, exact; neighbouring pieces of equal value are joined.
    """
    _check_range(low, high)
    inner = np.unique(np.fromiter(breakpoints, dtype=np.float64))
    edges = np.concatenate(([low], inner[(inner > low) & (inner < high)], [high]))
    middles = edges[:-1] + np.diff(edges) / 2
    values = np.array([float(utility(float(x))) for x in middles])
    return _joined(edges, values, exact=True, evaluations=len(values))


def enumerate_crossings(
    utility: Scalar, crossings: Iterable[Scalar], low: float, high: float, *, tolerance: float = 1e-12
) -> DualFunction:
    """Find breakpoints as the zeros of functions that cross zero at most once, then evaluate between them.

    Typical crossings are margins between two predictions that are monotone in the hyperparameter. Each is bracketed by
    the range, so its zero cannot be missed (Brent's method).

    Args:
        utility: Of the task at a value of the hyperparameter; it changes only where a crossing changes sign.
        crossings: Continuous functions with at most one change of sign each. One that changes sign twice, or touches
            zero, is the caller's error: it cannot be seen from the ends.
        low: Lower end of the range.
        high: Upper end.
        tolerance: Width, relative to the range, to which zeros are located; from 1e-12.

    Returns:
        The step function, exact up to the tolerance.
    """
    _check_range(low, high)
    _check_tolerance(tolerance)
    zeros = []
    for crossing in crossings:
        left, right = float(crossing(low)), float(crossing(high))
        if left * right < 0:
            zeros.append(float(brentq(crossing, low, high, xtol=tolerance * (high - low), rtol=8.9e-16)))
    return enumerate_pieces(utility, zeros, low, high)


def subdivide(
    utility: Scalar,
    low: float,
    high: float,
    *,
    initial: int = 16,
    tolerance: float = 1e-3,
    agreement: float = 0.0,
    most_breakpoints: int | None = None,
) -> DualFunction:
    """Find breakpoints by halving intervals whose ends disagree, down to a width.

    Two jumps between neighbouring points that cancel each other stay unseen, so the result is not exact, unless the
    most breakpoints the task can have are known and that many were found.

    Args:
        utility: Of the task at a value of the hyperparameter.
        low: Lower end of the range.
        high: Upper end.
        initial: Intervals of equal width to begin with, from 1; narrow enough that a piece of interest holds a point.
        tolerance: Width, relative to the range, below which an interval is not halved again; from 1e-12.
        agreement: Largest difference between values that still count as one piece, from 0.
        most_breakpoints: Most breakpoints that the utility can have, when that is known.

    Returns:
        The step function; breakpoints are known up to half the tolerance.

    Raises:
        ConfigError: An argument is out of range, or more breakpoints were found than there can be.
    """
    _check_range(low, high)
    count = check_count(initial, "initial")
    _check_tolerance(tolerance)
    if not 0 <= agreement < math.inf:
        raise ConfigError("is out of range", where="agreement", given=agreement, expected="a difference from 0")
    width = tolerance * (high - low)
    points = [float(x) for x in np.linspace(low, high, count + 1)]
    seen = {x: float(utility(x)) for x in points}
    edges, values = [low], [seen[low]]
    # Intervals wait from left to right, so that pieces come out in order.
    waiting = list(itertools.pairwise(points))[::-1]
    while waiting:
        left, right = waiting.pop()
        if abs(seen[left] - seen[right]) <= agreement and abs(values[-1] - seen[right]) <= agreement:
            continue
        middle = left + (right - left) / 2
        if right - left > width:
            seen[middle] = float(utility(middle))
            waiting += [(middle, right), (left, middle)]
        elif abs(values[-1] - seen[right]) > agreement:
            edges.append(middle)
            values.append(seen[right])
    found = len(edges) - 1
    if most_breakpoints is not None and found > most_breakpoints:
        raise ConfigError(
            "is smaller than the number of breakpoints found",
            where="most_breakpoints",
            given=most_breakpoints,
            expected=f"at least {found}",
        )
    exact = agreement == 0 and found == most_breakpoints
    return DualFunction(np.array([*edges, high]), np.array(values), exact=exact, evaluations=len(seen))


def _joined(edges: NDArray[np.float64], values: NDArray[np.float64], *, exact: bool, evaluations: int) -> DualFunction:
    new = np.concatenate(([True], np.diff(values) != 0))
    return DualFunction(np.concatenate((edges[:-1][new], edges[-1:])), values[new], exact, evaluations)


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            "is no range", where="low, high", given=(low, high), expected="two finite numbers, the first one smaller"
        )


def _check_tolerance(tolerance: float) -> None:
    if not 1e-12 <= tolerance < 1:
        raise ConfigError(
            "is out of range", where="tolerance", given=tolerance, expected="a share of the range, from 1e-12, below 1"
        )
