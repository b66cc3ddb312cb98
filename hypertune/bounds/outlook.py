"""Before any trial: what each certificate would give for how many tasks, and how many tasks a wanted accuracy needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hypertune.bounds._checks import check_count, check_delta, check_epsilon
from hypertune.bounds.activation_interpolation import activation_interpolation
from hypertune.bounds.betting import betting_lower
from hypertune.bounds.bound import Bound
from hypertune.bounds.empirical_bernstein import empirical_bernstein_margin
from hypertune.bounds.hoeffding import hoeffding_margin
from hypertune.bounds.sample_size import smallest_sample
from hypertune.bounds.uniform import generalization_gap
from hypertune.errors import ConfigError

__all__ = ["Outlook", "outlook"]

_MEAN = 0.7
_REPEATS = 15
_SIMULATED = 4_000  # tasks; beyond them the margin shrinks as 1 / sqrt(n)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one inequality would say.

    Attributes:
        kind: Name of the inequality.
        margins: Mean utility minus what is certified, for each number of tasks asked about.
        needed: Smallest number of tasks whose margin is at most epsilon.
        vacuous: Whether the margin is 1 or more at the largest number of tasks asked about.
        note: What it pays for, or what it is about.
    """

    kind: str
    margins: tuple[float, ...]
    needed: int
    vacuous: bool
    note: str


def outlook(
    epsilon: float,
    delta: float,
    *,
    candidates: int,
    spread: float,
    tasks: Sequence[int] = (50, 100, 300, 1000),
    oscillations: int = 10,
) -> tuple[Outlook, ...]:
    """Compare certificates and theory before there is data.

    Margins that depend on the utilities are those of independent utilities with mean 0.7 and standard deviation
    ``spread`` (beta distributed): the median of 15 simulations for betting.

    Args:
        epsilon: Wanted margin, in (0, 1).
        delta: Probability of error, in (0, 1).
        candidates: Candidates fixed beforehand, from 1.
        spread: Standard deviation of the winner's utility over tasks, in (0, 0.45].
        tasks: Numbers of tasks to ask about, each from 2.
        oscillations: Crossings of a threshold that one task's utility makes at most along one hyperparameter, from 1,
            for the worst case of the theory.

    Returns:
        One for each inequality, those that need no luck first.

    Raises:
        ConfigError: An argument is out of range.
    """
    check_epsilon(epsilon)
    check_delta(delta)
    count = check_count(candidates, "candidates")
    for n in tasks:
        check_count(n, "tasks", 2)
    if not 0 < spread <= 0.45:
        raise ConfigError(
            "is out of range",
            where="spread",
            given=spread,
            expected="the standard deviation of a utility with mean 0.7, above 0 and at most 0.45",
            fix="use 0.15",
        )
    chosen = f"for the best of {count} candidates fixed beforehand, on the tasks that chose it"
    few = _oscillating(check_count(oscillations, "oscillations"))
    network = activation_interpolation(64, (32,), 10, 1797)
    rows: list[tuple[str, Callable[[int], float], str]] = [
        ("hold-out", lambda n: _betting_margin(n, delta, spread), "on tasks that had no part in the search"),
        ("betting", lambda n: _betting_margin(n, delta / count, spread), chosen),
        (
            "empirical bernstein",
            lambda n: float(empirical_bernstein_margin(spread**2, n, delta, candidates=count)),
            chosen,
        ),
        ("hoeffding", lambda n: hoeffding_margin(n, delta, candidates=count), f"{chosen}; whatever the spread"),
        (
            f"worst case (theory), {oscillations} oscillations",
            lambda n: generalization_gap(n, delta, few, utility="utility"),
            "for any value of one hyperparameter, if a task's utility swings no more often than that",
        ),
        (
            "worst case (theory), network",
            lambda n: generalization_gap(n, delta, network, utility="training optimum"),
            f"activation mixing in a 64-32-10 network on 1,797 examples: 2^{network.log2:,.0f} oscillations, and for "
            "the optimum of the training objective only",
        ),
    ]
    return tuple(
        Outlook(
            kind,
            tuple(margin(n) for n in tasks),
            smallest_sample(margin, epsilon),
            margin(max(tasks)) >= 1,
            note,
        )
        for kind, margin, note in rows
    )


def _oscillating(count: int) -> Bound:
    return Bound.of_log2(
        "oscillations",
        math.log2(count),
        target="utility",
        statement=f"a task's utility crosses a threshold at most {count} times",
        assumptions=("said by the user, not derived",),
        source="assumption",
    )


def _betting_margin(n: int, level: float, spread: float) -> float:
    if n > _SIMULATED:
        return _simulated(_SIMULATED, level, spread) * math.sqrt(_SIMULATED / n)
    return _simulated(n, level, spread)


@lru_cache(maxsize=256)
def _simulated(n: int, level: float, spread: float) -> float:
    concentration = _MEAN * (1 - _MEAN) / spread**2 - 1
    rng = np.random.default_rng(0)
    utilities = rng.beta(_MEAN * concentration, (1 - _MEAN) * concentration, (_REPEATS, n)).T
    return float(np.median(utilities.mean(axis=0) - betting_lower(utilities, level, planned=n)))
