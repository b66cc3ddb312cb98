"""The empirical Bernstein inequality: Hoeffding's, but paid by the variance that was seen.

References:
    [Maurer09] Maurer, Pontil. Empirical Bernstein bounds and sample-variance penalization. COLT 2009. Theorem 4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.bounds._certificates import certificate_of_mean
from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.utilities import TaskOrigin, check_origin, check_utilities
from hypertune.records import Certificate

__all__ = ["empirical_bernstein_certificate", "empirical_bernstein_margin"]


def empirical_bernstein_margin(
    variance: ArrayLike, n: int, delta: float, *, candidates: int = 1
) -> NDArray[np.float64]:
    """Return ``sqrt(2 V ln(2K / delta) / n) + 7 ln(2K / delta) / (3 (n - 1))``.

    Args:
        variance: V, unbiased sample variance of utilities in [0, 1], any shape; at most 1/2.
        n: Number of tasks, from 2.
        delta: Probability of error, in (0, 1).
        candidates: K, candidates fixed beforehand.

    Returns:
        The margin, in the shape of ``variance``.
    """
    union = math.log(2 * check_count(candidates, "candidates") / check_delta(delta))
    count = check_count(n, "n", 2)
    return np.sqrt(2 * np.asarray(variance, dtype=np.float64) * union / count) + 7 * union / (3 * (count - 1))


def empirical_bernstein_certificate(
    utilities: ArrayLike, delta: float, *, candidates: int = 1, tasks: TaskOrigin = "independent"
) -> Certificate:
    """Bound the expected utility of the best of K candidates from below.

    Args:
        utilities: Of the chosen candidate, ``(tasks,)`` in [0, 1]; at least 2.
        delta: Probability of error, in (0, 1).
        candidates: K, all that it could have been, fixed before the first task.
        tasks: Where the tasks come from.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta`` or ``candidates`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    check_origin(tasks)
    values = check_utilities(utilities)
    margin = empirical_bernstein_margin(np.var(values, ddof=1), len(values), delta, candidates=candidates)
    return certificate_of_mean(
        "empirical bernstein",
        values,
        float(np.mean(values) - margin),
        delta=delta,
        candidates=candidates,
        source="[Maurer09] Theorem 4, union bound",
    )
