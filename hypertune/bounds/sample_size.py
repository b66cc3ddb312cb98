"""From a wanted accuracy to the number of tasks; the way back is each inequality's own function."""

from __future__ import annotations

from collections.abc import Callable

from hypertune.bounds._checks import check_count, check_epsilon
from hypertune.bounds.bound import Bound, Target
from hypertune.bounds.uniform import generalization_gap
from hypertune.errors import ConfigError

__all__ = ["smallest_sample", "tasks_needed"]

_MOST = 2**62


def smallest_sample(margin: Callable[[int], float], epsilon: float, *, least: int = 2) -> int:
    """Return the smallest n with ``margin(n) <= epsilon``.

    Args:
        margin: Width of an inequality for n tasks; it must not increase with n.
        epsilon: Accuracy, in (0, 1).
        least: Fewest tasks the inequality takes.

    Returns:
        The number of tasks, at least ``least``.

    Raises:
        ConfigError: ``epsilon`` is out of range, or no number of tasks up to 2^62 is enough.
    """
    wanted, low = check_epsilon(epsilon), check_count(least, "least")
    if margin(low) <= wanted:
        return low
    high = 2 * low
    while margin(high) > wanted:
        low, high = high, 2 * high
        if high > _MOST:
            raise ConfigError(
                "no number of tasks is enough", where="epsilon", given=epsilon, fix="accept a larger epsilon"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if margin(middle) > wanted else (low, middle)
    return high


def tasks_needed(epsilon: float, delta: float, bound: Bound, *, utility: Target) -> int:
    """Return how many tasks make the worst-case gap at most ``epsilon``.

    Args:
        epsilon: Accuracy, in (0, 1).
        delta: Probability of error, in (0, 1).
        bound: Exact oscillations or pseudo-dimension of the utilities.
        utility: What the utility is; it has to be what the bound is about.

    Raises:
        BoundError: The theory does not apply.
        ConfigError: ``epsilon`` or ``delta`` is out of range.
    """
    return smallest_sample(lambda n: generalization_gap(n, delta, bound, utility=utility), epsilon)
