"""Is a candidate better than a reference, such as the default, on the same tasks?

The difference of two utilities on one task varies less than either when some tasks are hard for everybody, so a gain is
certified before a level is. It still takes about ``ln(1 / delta) / gain`` tasks however steady the gain: one more task
could lose everything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.betting import betting_lower
from hypertune.bounds.utilities import INDEPENDENT, TaskOrigin, check_origin, check_utilities
from hypertune.errors import TaskError
from hypertune.records import Certificate

__all__ = ["improvement_certificate", "paired_utilities"]


def paired_utilities(utilities: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Return ``(u - v + 1) / 2``: in [0, 1], above 1/2 where the candidate is better.

    Args:
        utilities: u, of the candidate, ``(tasks, ...)`` in [0, 1].
        reference: v, of the reference on the same tasks, ``(tasks,)`` or in the shape of u.

    Raises:
        TaskError: Fewer than 2 tasks, utilities outside [0, 1], or shapes that do not match.
    """
    u, v = check_utilities(utilities), check_utilities(reference)
    if v.shape not in (u.shape, u.shape[:1]):
        raise TaskError(
            "are not of the same tasks",
            where="reference",
            given=v.shape,
            expected=f"shape {u.shape} or {u.shape[:1]}",
            fix="leave a failed task out for both",
        )
    return (u - v.reshape(*v.shape, *[1] * (u.ndim - v.ndim)) + 1) / 2


def improvement_certificate(
    utilities: ArrayLike,
    reference: ArrayLike,
    delta: float,
    *,
    candidates: int = 1,
    planned: int | None = None,
    tasks: TaskOrigin = "independent",
) -> Certificate:
    """Bound the expected gain over a reference from below, by betting on the paired differences.

    Args:
        utilities: Of the chosen candidate, ``(tasks,)`` in [0, 1], in the order they were seen; at least 2.
        reference: Of the reference on the same tasks, ``(tasks,)``; it was fixed beforehand.
        delta: Probability of error, in (0, 1); each candidate gets ``delta / K``.
        candidates: K, all that the candidate could have been, fixed before the first task; 1 when it was chosen
            without looking at these tasks.
        planned: Number of tasks that was planned before the first one, or None.
        tasks: Where the tasks come from.

    Returns:
        A certificate in [-1, 1]; the candidate is certified to be better when its value is above 0.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta``, ``candidates`` or ``planned`` is out of range.
        TaskError: Fewer than 2 tasks, utilities outside [0, 1], or different numbers of tasks.
    """
    check_origin(tasks)
    pairs = paired_utilities(utilities, reference)
    count = check_count(candidates, "candidates")
    lower = 2 * float(betting_lower(pairs, check_delta(delta) / count, planned=planned)) - 1
    gain = float(np.mean(2 * pairs - 1))
    chosen = (
        "the candidate was chosen without looking at these tasks"
        if count == 1
        else f"the {count} candidates were fixed before the first of these tasks"
    )
    return Certificate(
        kind="improvement",
        target="expected gain of the chosen candidate over the reference on a new task",
        value=lower,
        estimate=gain,
        margin=gain - lower,
        delta=delta,
        n=len(pairs),
        candidates=count,
        vacuous=lower <= -1,
        anytime=True,
        assumptions=(INDEPENDENT, "the reference was fixed beforehand", chosen),
        source="betting on paired differences: Waudby-Smith, Ramdas, arXiv 2010.09686, Theorem 3, one-sided",
    )
