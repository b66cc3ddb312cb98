"""The best mean over tasks, exactly: merge the breakpoints of all tasks, sweep once, take the widest best plateau."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hypertune.bounds.dual import DualFunction
from hypertune.errors import ConfigError, TaskError

__all__ = ["Plateau", "mean_dual", "widest_best_plateau"]

_TIE = 1e-9  # means of equal pieces differ by the rounding of the sweep


@dataclass(frozen=True, slots=True)
class Plateau:
    """An interval of the hyperparameter on which the mean utility is largest.

    Attributes:
        point: Its midpoint, the choice that is farthest from a jump.
        low: Lower end.
        high: Upper end.
        value: Mean utility on it.
        exact: Whether no breakpoint of any task was missed.
    """

    point: float
    low: float
    high: float
    value: float
    exact: bool


def mean_dual(duals: Sequence[DualFunction]) -> DualFunction:
    """Average the utilities of several tasks, in time ``p log p`` for p pieces together.

    Args:
        duals: One for each task, at least one, all on the same range.

    Returns:
        The mean as a step function on the merged pieces; neighbours of equal mean stay apart, since the tasks may
        differ between them.

    Raises:
        TaskError: No task, or tasks on different ranges.
    """
    if not duals:
        raise TaskError("there is none", where="duals", expected="at least one task")
    low, high = duals[0].edges[0], duals[0].edges[-1]
    for index, dual in enumerate(duals):
        if dual.edges[0] != low or dual.edges[-1] != high:
            raise TaskError(
                "has another range of the hyperparameter",
                where=f"duals[{index}]",
                given=(float(dual.edges[0]), float(dual.edges[-1])),
                expected=f"[{low}, {high}]",
            )
    edges, place = np.unique(np.concatenate([dual.edges[1:-1] for dual in duals]), return_inverse=True)
    jumps = np.concatenate([np.diff(dual.values) for dual in duals])
    steps = np.bincount(place, weights=jumps, minlength=len(edges))
    start = float(np.sum([dual.values[0] for dual in duals]))
    sums = start + np.concatenate(([0.0], np.cumsum(steps)))
    return DualFunction(
        np.concatenate(([low], edges, [high])),
        sums / len(duals),
        all(dual.exact for dual in duals),
        sum(dual.evaluations for dual in duals),
    )


def widest_best_plateau(dual: DualFunction, *, tie: float = _TIE) -> Plateau:
    """Return where a step function is largest; of several places the widest, of equally wide ones the lowest.

    Args:
        dual: The mean over tasks from `mean_dual`, or one task's utility.
        tie: Largest difference from the maximum that counts as equal to it, from 0.

    Raises:
        ConfigError: ``tie`` is out of range.
    """
    if not 0 <= tie < np.inf:
        raise ConfigError("is out of range", where="tie", given=tie, expected="a difference from 0")
    value = float(np.max(dual.values))
    best = np.concatenate(([False], dual.values >= value - tie, [False]))
    starts, ends = np.flatnonzero(~best[:-1] & best[1:]), np.flatnonzero(best[:-1] & ~best[1:])
    widths = dual.edges[ends] - dual.edges[starts]
    widest = int(np.argmax(widths))
    low, high = float(dual.edges[starts[widest]]), float(dual.edges[ends[widest]])
    return Plateau(low + (high - low) / 2, low, high, value, dual.exact)
