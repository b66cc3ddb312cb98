"""A bound from the pieces that the tasks at hand really have, not from those that tasks could have.

If the utilities of n tasks are step functions of the hyperparameter with N merged pieces, they take at most N vectors
of values, so by Massart's lemma the empirical Rademacher average is at most

    R = sqrt(2 ln N  sum of (r_i / 2)^2) / n,

r_i the spread of task i (a vector is measured from the middle of each task's values: signs do not care for the
middle). With probability at least 1 - delta, for all values of the hyperparameter together,

    mean - expectation  <=  2 R + 3 sqrt(ln(2 / delta) / (2 n)).

References:
    [Mohri18] Mohri, Rostamizadeh, Talwalkar. Foundations of Machine Learning, second edition. MIT Press, 2018.
        Theorems 3.3 and 3.7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hypertune.bounds._checks import check_delta
from hypertune.bounds.dual import DualFunction
from hypertune.bounds.erm import mean_dual
from hypertune.bounds.utilities import INDEPENDENT, TaskOrigin, check_origin, check_utilities
from hypertune.errors import BoundError
from hypertune.records import Certificate

__all__ = ["rademacher_average", "rademacher_certificate"]


def rademacher_average(duals: Sequence[DualFunction]) -> float:
    """Bound the empirical Rademacher average of the utilities at all values of the hyperparameter.

    Args:
        duals: One for each task, at least one, all on the same range.

    Returns:
        R, from 0.

    Raises:
        BoundError: A breakpoint may have been missed.
        TaskError: No task, or tasks on different ranges.
    """
    missed = [index for index, dual in enumerate(duals) if not dual.exact]
    if missed:
        raise BoundError(
            "pieces can be counted only where no breakpoint was missed",
            where=f"duals[{missed[0]}]",
            given=f"{len(missed)} of {len(duals)} tasks with exact=False",
            expected="exact step functions",
            fix="enumerate with known crossings, or use a certificate from held-out tasks",
        )
    pieces = len(mean_dual(duals).values)
    squares = sum((dual.spread / 2) ** 2 for dual in duals)
    return math.sqrt(2 * math.log(pieces) * squares) / len(duals)


def rademacher_certificate(
    duals: Sequence[DualFunction], point: float, delta: float, *, tasks: TaskOrigin = "independent"
) -> Certificate:
    """Bound the expected utility at a value of the hyperparameter that was chosen in any way on these same tasks.

    Args:
        duals: One for each task, at least 2, with utilities in [0, 1], all exact.
        point: The value chosen.
        delta: Probability of error, in (0, 1).
        tasks: Where the tasks come from.

    Raises:
        BoundError: The tasks are not independent, or a breakpoint may have been missed.
        ConfigError: ``delta`` is out of range.
        TaskError: Fewer than 2 tasks, utilities outside [0, 1], or a point outside the range.
    """
    check_origin(tasks)
    values = check_utilities([float(dual(point)) for dual in duals])
    for dual in duals:
        check_utilities(dual.values, least=1)
    n, mean = len(values), float(np.mean(values))
    margin = 2 * rademacher_average(duals) + 3 * math.sqrt(math.log(2 / check_delta(delta)) / (2 * n))
    return Certificate(
        kind="rademacher",
        target="expected utility of the chosen value on a new task",
        value=max(mean - margin, 0.0),
        estimate=mean,
        margin=margin,
        delta=delta,
        n=n,
        vacuous=margin >= mean,
        assumptions=(INDEPENDENT, "the utility of every task is a step function, with all breakpoints known"),
        source="[Mohri18] Theorems 3.3 and 3.7",
    )
