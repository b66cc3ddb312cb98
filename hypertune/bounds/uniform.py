"""The worst-case bound: how far the mean over the tasks can be above the expectation, for the luckiest configuration.

With probability at least 1 - delta over n independent tasks, for all configurations together,

    mean - expectation  <=  sqrt(2 ln L(n) / n) + sqrt(ln(1 / delta) / (2 n)),

with L(n) the most labelings of n tasks. Proof: a utility in [0, 1] is the integral of its indicators "above z"; for
each z they take at most L(n) patterns, so Massart's lemma on patterns in {-1/2, 1/2} bounds their Rademacher average
by ``sqrt(ln L(n) / (2 n))``; symmetrization doubles it, and McDiarmid's inequality adds the second term.

References:
    [Mohri18] Mohri, Rostamizadeh, Talwalkar. Foundations of Machine Learning, second edition. MIT Press, 2018.
        Theorem 3.7 (Massart), appendix D.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from hypertune.bounds._checks import check_count, check_delta
from hypertune.bounds.bound import Bound, Target, check_bound
from hypertune.bounds.pseudo_dimension import log_labelings
from hypertune.bounds.utilities import INDEPENDENT, TaskOrigin, check_origin, check_utilities
from hypertune.records import Certificate

__all__ = ["generalization_gap", "worst_case_certificate"]


def generalization_gap(n: int, delta: float, bound: Bound, *, utility: Target) -> float:
    """Return the worst-case gap between mean and expectation for n tasks; it decreases in n.

    Args:
        n: Number of tasks, from 1.
        delta: Probability that the gap is larger, in (0, 1).
        bound: Exact oscillations (one hyperparameter) or pseudo-dimension of the utilities.
        utility: What the utility is; it has to be what the bound is about.

    Returns:
        The gap, above 0; from 1 on it says nothing about utilities in [0, 1].

    Raises:
        BoundError: The bound is an order, or is about another function than the utility.
        ConfigError: ``n`` or ``delta`` is out of range.
    """
    check_bound(bound, utility)
    count, level = check_count(n, "n"), check_delta(delta)
    complexity = math.sqrt(2 * log_labelings(count, bound) / count)
    return complexity + math.sqrt(math.log(1 / level) / (2 * count))


def worst_case_certificate(
    utilities: ArrayLike, delta: float, bound: Bound, *, utility: Target, tasks: TaskOrigin = "independent"
) -> Certificate:
    """Bound the expected utility of a configuration that was chosen in any way on these same tasks.

    Args:
        utilities: Of the chosen configuration on the tasks, ``(tasks,)`` in [0, 1]; at least 2.
        delta: Probability that the bound is wrong, in (0, 1).
        bound: Exact oscillations or pseudo-dimension of the utilities.
        utility: What the utility is; it has to be what the bound is about.
        tasks: Where the tasks come from.

    Returns:
        A certificate of kind ``worst case (theory)``; for real networks it is vacuous.

    Raises:
        BoundError: The theory does not apply.
        TaskError: Fewer than 2 tasks, or utilities outside [0, 1].
    """
    check_origin(tasks)
    values = check_utilities(utilities)
    gap = generalization_gap(len(values), delta, bound, utility=utility)
    mean = float(np.mean(values))
    return Certificate(
        kind="worst case (theory)",
        target=f"expected utility of the chosen configuration; utility: {utility}",
        value=max(mean - gap, 0.0),
        estimate=mean,
        margin=gap,
        delta=delta,
        n=len(values),
        vacuous=gap >= mean,
        assumptions=(INDEPENDENT, *bound.assumptions),
        source=f"symmetrization, Massart and McDiarmid [Mohri18]; {bound.source}",
    )
