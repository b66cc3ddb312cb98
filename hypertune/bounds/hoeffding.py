"""Hoeffding's inequality with a union over candidates that were fixed before the tasks.

References:
    [Hoeffding63] Hoeffding. Probability inequalities for sums of bounded random variables. JASA 58, 1963. Theorem 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hypertune.bounds._certificates import certificate_of_mean
from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.utilities import TaskOrigin, check_origin, check_utilities
from hypertune.records import Certificate

__all__ = ["hoeffding_certificate", "hoeffding_margin"]


def hoeffding_margin(n: int, delta: float, *, candidates: int = 1) -> float:
    """Return ``sqrt(ln(K / delta) / (2 n))``, known before any task is seen.

    Args:
        n: Number of tasks, from 1.
        delta: Probability of error, in (0, 1).
        candidates: K, candidates fixed beforehand.
    """
    union = math.log(check_count(candidates, "candidates") / check_delta(delta))
    return math.sqrt(union / (2 * check_count(n, "n")))


def hoeffding_certificate(
    utilities: ArrayLike, delta: float, *, candidates: int = 1, tasks: TaskOrigin = "independent"
) -> Certificate:
    """Bound the expected utility of the best of K candidates from below.

    Args:
        utilities: Of the chosen candidate, ``(tasks,)`` in [0, 1]; at least 2.
        delta: Probability of error, in (0, 1).
        candidates: K, all that it could have been, fixed before the first task. Candidates that were proposed from
            these tasks void the bound.
        tasks: Where the tasks come from.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta`` or ``candidates`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    check_origin(tasks)
    values = check_utilities(utilities)
    margin = hoeffding_margin(len(values), delta, candidates=candidates)
    return certificate_of_mean(
        "hoeffding",
        values,
        float(np.mean(values)) - margin,
        delta=delta,
        candidates=candidates,
        source="[Hoeffding63] Theorem 1, union bound",
    )
