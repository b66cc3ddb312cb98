"""Tasks that arrive one at a time: how to choose for each, when all candidates are evaluated on it afterwards.

Before a task, a candidate is drawn with probability proportional to ``exp(rate * its total utility so far)``. Whatever
the tasks are, drawn or chosen by an adversary that does not see the draw, the expected total utility after T tasks is
at least that of the best of K candidates minus

    ln(K) / rate + rate T / 8,        which is  sqrt(T ln(K) / 2)  at  rate = sqrt(8 ln(K) / T).

References:
    [CesaBianchi06] Cesa-Bianchi, Lugosi. Prediction, Learning, and Games. Cambridge University Press, 2006.
        Theorem 2.2.
    [Balcan18] Balcan, Dick, Vitercik. Dispersion for data-driven algorithm design, online learning, and private
        optimization. FOCS 2018. (Online tuning with the exponential forecaster.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, softmax

from hypertune.bounds._checks import check_count
from hypertune.bounds.utilities import check_utilities
from hypertune.errors import ConfigError

__all__ = ["Forecast", "exponential_forecaster", "learning_rate", "regret_bound"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the forecaster did on a sequence of tasks.

    Attributes:
        probabilities: Of each candidate before each task, ``(tasks, candidates)``; rows sum to 1.
        utility: Expected utility on each task, ``(tasks,)``.
        regret: Expected total regret against the candidate that is best over all tasks.
        bound: Largest regret that any sequence of tasks can cause.
        final: Probabilities after the last task, ``(candidates,)``.
    """

    probabilities: NDArray[np.float64]
    utility: NDArray[np.float64]
    regret: float
    bound: float
    final: NDArray[np.float64]


def learning_rate(tasks: int, candidates: int) -> float:
    """Return ``sqrt(8 ln(K) / T)``, the rate with the smallest bound on the regret.

    Args:
        tasks: T, planned number of tasks, from 1.
        candidates: K, from 2.
    """
    return math.sqrt(8 * math.log(check_count(candidates, "candidates", 2)) / check_count(tasks, "tasks"))


def regret_bound(tasks: int, candidates: int, rate: float) -> float:
    """Return ``ln(K) / rate + rate T / 8``.

    Args:
        tasks: T, from 1.
        candidates: K, from 1.
        rate: Above 0.

    Raises:
        ConfigError: An argument is out of range.
    """
    if not 0 < rate < math.inf:
        raise ConfigError("is out of range", where="rate", given=rate, expected="a number above 0")
    count = check_count(candidates, "candidates")
    return math.log(count) / rate + rate * check_count(tasks, "tasks") / 8


def exponential_forecaster(
    utilities: ArrayLike, *, rate: float | None = None, prior: ArrayLike | None = None
) -> Forecast:
    """Run the forecaster over a sequence of tasks, with full information.

    Args:
        utilities: ``(tasks, candidates)`` in [0, 1], in the order of arrival; at least one task. With the exact pieces
            of a hyperparameter's dual functions as candidates, nothing is lost to a grid.
        rate: Above 0; `learning_rate` by default. It must not be chosen by looking at the utilities.
        prior: Probability of each candidate before the first task, ``(candidates,)``, such as the width of its piece;
            uniform by default.

    Raises:
        ConfigError: ``rate`` or ``prior`` is out of range.
        TaskError: No task, or utilities outside [0, 1].
    """
    values = check_utilities(utilities, least=1)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ConfigError("are no table", where="utilities", given=values.shape, expected="(tasks, candidates)")
    tasks, candidates = values.shape
    speed = learning_rate(tasks, max(candidates, 2)) if rate is None else rate
    start = np.full(candidates, 1 / candidates) if prior is None else np.asarray(prior, dtype=np.float64)
    if start.shape != (candidates,) or not (start > 0).all() or abs(start.sum() - 1) > 1e-9:
        raise ConfigError(
            "are no probabilities of the candidates",
            where="prior",
            given=start,
            expected=f"{candidates} numbers above 0 that sum to 1",
        )
    uniform_bound = regret_bound(tasks, candidates, speed)
    totals = np.cumsum(values, axis=0)
    before = np.concatenate((np.zeros((1, candidates)), totals[:-1]))
    probabilities = softmax(np.log(start) + speed * before, axis=1)
    earned = np.sum(probabilities * values, axis=1)
    best = int(np.argmax(totals[-1]))
    bound = uniform_bound if prior is None else -math.log(start[best]) / speed + speed * tasks / 8
    last = np.log(start) + speed * totals[-1]
    return Forecast(
        probabilities, earned, float(totals[-1, best] - earned.sum()), bound, np.exp(last - logsumexp(last))
    )
