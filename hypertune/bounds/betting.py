"""Lower bounds by betting: a gambler bets that utilities are above m; whoever grows rich has refuted the mean m.

With ``bet_t`` decided before task t, the wealth ``product of (1 + bet_t (x_t - m))`` is a nonnegative martingale if m
is the mean, so it ever reaches ``1 / delta`` with probability at most delta (Ville). The bound is the smallest mean
that is not refuted. The bets are the predictable plug-in for one side, cut at ``cap / m`` so that no task takes more
than the share ``cap`` of the wealth.

References:
    [WaudbySmith24] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024,
        arXiv 2010.09686. Theorem 3 (hedged capital), one side of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.bounds._certificates import certificate_of_mean
from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds._predictable import bet_sizes, predictions
from hypertune.bounds.utilities import TaskOrigin, check_origin, check_utilities
from hypertune.errors import ConfigError
from hypertune.records import Certificate

__all__ = ["CAP", "betting_certificate", "betting_lower", "hold_out_certificate"]

CAP = 0.95
"""Largest share of the wealth that one task may take."""

_HALVINGS = 34  # to 6e-11


def betting_lower(
    utilities: ArrayLike, delta: float, *, planned: int | None = None, cap: float = CAP
) -> NDArray[np.float64]:
    """Return the lower bound for every column.

    Each bound holds with probability at least ``1 - delta`` on its own, also when the tasks seen so far decided to
    stop here. It depends on the order of the tasks, which must not be chosen by their utilities.

    Args:
        utilities: ``(tasks, ...)`` in [0, 1], in the order they were seen; at least 2.
        delta: Probability of error of one column, in (0, 1).
        planned: Number of tasks that was planned before the first one: bets are then made for that number, which is
            tighter there. Pass None when there was no plan; never the number at which a look at the tasks stopped.
        cap: Largest share of the wealth that one task may take, in (0, 1).

    Returns:
        Bounds in [0, 1], ``(...)``.

    Raises:
        ConfigError: ``delta``, ``planned`` or ``cap`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    values = check_utilities(utilities)
    refuted_at = -np.log(check_delta(delta))
    if planned is not None:
        check_count(planned, "planned")
    if not 0 < cap < 1:
        raise ConfigError("is out of range", where="cap", given=cap, expected="a share above 0 and below 1")
    _, variance = predictions(values)
    seen = np.arange(len(values), dtype=np.float64).reshape(-1, *[1] * (values.ndim - 1))
    bets = bet_sizes(variance, seen, refuted_at, planned)

    # Every factor falls as m grows, so what is refuted is an interval from 0, and halving finds its end.
    low, high = np.zeros(values.shape[1:]), np.ones(values.shape[1:])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gains = np.log1p(np.minimum(bets, cap / middle) * (values - middle))
        refuted = np.max(np.cumsum(gains, axis=0), axis=0) >= refuted_at
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return low


def betting_certificate(
    utilities: ArrayLike,
    delta: float,
    *,
    candidates: int = 1,
    planned: int | None = None,
    tasks: TaskOrigin = "independent",
) -> Certificate:
    """Bound the expected utility of the best of K candidates from below.

    Args:
        utilities: Of the chosen candidate, ``(tasks,)`` in [0, 1], in the order they were seen; at least 2.
        delta: Probability of error, in (0, 1); each candidate gets ``delta / K``.
        candidates: K, all that it could have been, fixed before the first task.
        planned: Number of tasks that was planned before the first one, or None.
        tasks: Where the tasks come from.

    Returns:
        A certificate that survives optional stopping, with a plan too: a plan only sizes the bets.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta``, ``candidates`` or ``planned`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    return _certificate("betting", utilities, delta, candidates, planned, tasks)


def hold_out_certificate(utilities: ArrayLike, delta: float, *, tasks: TaskOrigin = "independent") -> Certificate:
    """Bound the expected utility of a configuration from tasks that had no part in choosing it; the default.

    It holds however the configuration was found: adaptively, by hand, from any number of trials. The number of tasks
    must have been fixed beforehand.

    Args:
        utilities: On the held-out tasks, ``(tasks,)`` in [0, 1]; at least 2.
        delta: Probability of error, in (0, 1).
        tasks: Where the tasks come from.

    Raises:
        BoundError: The tasks are not independent.
        ConfigError: ``delta`` is out of range.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    values = check_utilities(utilities)
    return _certificate("hold-out", values, delta, 1, len(values), tasks)


def _certificate(
    kind: str, utilities: ArrayLike, delta: float, candidates: int, planned: int | None, tasks: TaskOrigin
) -> Certificate:
    check_origin(tasks)
    values = check_utilities(utilities)
    level = check_delta(delta) / check_count(candidates, "candidates")
    return certificate_of_mean(
        kind,
        values,
        float(betting_lower(values, level, planned=planned)),
        delta=delta,
        candidates=candidates,
        source="[WaudbySmith24] Theorem 3, one-sided" + (", union bound" if candidates > 1 else ""),
        anytime=kind == "betting",
    )
