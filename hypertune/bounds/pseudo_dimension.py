"""From the shape of a task's utility to the pseudo-dimension of the class of utilities.

References:
    [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
        networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
    [Balcan21] Balcan, DeBlasio, Dick, Kingsford, Sandholm, Vitercik. How much data is sufficient to learn
        high-performing algorithms? STOC 2021, arXiv 1908.02894.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from hypertune.bounds._checks import check_count
from hypertune.bounds.bound import Bound, Target
from hypertune.errors import BoundError

__all__ = ["from_decomposition", "from_oscillations", "log_labelings"]


def log_labelings(n: int, bound: Bound) -> float:
    """Return the natural logarithm of the most labelings "above its threshold or not" of n tasks.

    ``n B + 1`` for oscillations B: the line has at most n B cuts, and between cuts no label changes. For a
    pseudo-dimension d it is Sauer's ``(e n / d)^d``, and ``2^n`` while n is below d.

    Args:
        n: Number of tasks, from 1.
        bound: Oscillations or pseudo-dimension.
    """
    count = check_count(n, "n")
    if bound.quantity == "oscillations":
        return float(np.logaddexp(math.log(count) + bound.log2 * math.log(2), 0.0))
    dimension = bound.value
    if dimension <= 0:
        return 0.0
    everything = count * math.log(2)
    return everything if count < dimension else min(everything, dimension * math.log(math.e * count / dimension))


def from_oscillations(bound: Bound) -> Bound:
    """Turn oscillations B into a pseudo-dimension: the largest m with ``2^m <= m B + 1``.

    m tasks are shattered only if they take all ``2^m`` labelings, and they take at most ``m B + 1``.

    Args:
        bound: Oscillations, exact.

    Raises:
        BoundError: The bound is no exact bound on oscillations.
    """
    if bound.quantity != "oscillations" or bound.kind != "exact":
        raise BoundError(
            "no pseudo-dimension follows from it",
            where="bound",
            given=f"{bound.kind} {bound.quantity}",
            expected="exact oscillations",
        )
    if bound.value < 2**40:
        cuts = int(bound.value)
        dimension = _largest(lambda m: 2**m <= m * cuts + 1)
    else:
        # Larger counts are known by their logarithm; the slack errs on the safe, larger side.
        dimension = _largest(lambda m: m <= math.log2(m) + bound.log2 + 1e-9)
    return _dimension(
        dimension,
        bound.target,
        f"the utilities have pseudo-dimension at most {dimension}",
        ("one hyperparameter on a line", *(a for a in bound.assumptions if a != "one hyperparameter on a line")),
        "[Balcan25] section 3, with the constants of the proof here",
    )


def from_decomposition(
    piece_dimension: float, boundary_dimension: float, boundaries: int, *, target: Target = "utility"
) -> Bound:
    """Bound the pseudo-dimension for several hyperparameters from the pieces of each task's utility.

    The dual class is (F, G, k)-piecewise decomposable ([Balcan21] Theorem 3.3): k borders out of G cut the space of
    hyperparameters, a function of F rules on each piece. m tasks then take at most ``(e k m)^dG (e m)^dF`` labelings,
    so the dimension is the largest m with ``m ln 2 <= (dF + dG)(1 + ln m) + dG ln k``. It is never above the closed
    form ``4 a ln(2a) + 2b`` with ``a = (dF + dG) / ln 2`` and ``b = (dF + dG + dG ln k) / ln 2``.

    Args:
        piece_dimension: dF, pseudo-dimension of the dual of F; for affine pieces in p hyperparameters p + 1.
        boundary_dimension: dG, VC dimension of the dual of G; for half-spaces p + 1.
        boundaries: k, borders for one task, from 1.
        target: Which function of the hyperparameters is decomposed.
    """
    k = check_count(boundaries, "boundaries")
    if not (piece_dimension >= 0 and boundary_dimension >= 0 and 1 <= piece_dimension + boundary_dimension < math.inf):
        raise BoundError(
            "are no dimensions",
            where="piece_dimension, boundary_dimension",
            given=(piece_dimension, boundary_dimension),
            expected="numbers from 0, together at least 1",
        )
    both = piece_dimension + boundary_dimension
    dimension = _largest(
        lambda m: m * math.log(2) <= both * (1 + math.log(m)) + boundary_dimension * math.log(k) + 1e-9
    )
    return _dimension(
        dimension,
        target,
        f"the utilities have pseudo-dimension at most {dimension}",
        (
            f"each task cuts the hyperparameter space by at most {k} borders of one class, with one function of "
            "another class on each piece",
        ),
        "[Balcan21] Theorem 3.3, solved for the dimension without its last rounding",
    )


def _dimension(value: int, target: Target, statement: str, assumptions: tuple[str, ...], source: str) -> Bound:
    return Bound(
        "pseudo-dimension",
        float(value),
        math.log2(value) if value else -math.inf,
        "exact",
        target,
        statement,
        assumptions,
        source,
    )


def _largest(holds: Callable[[int], bool]) -> int:
    # `holds` is true from 1 up to some m and false from then on: the left side grows linearly or faster, the right
    # side is concave in m or linear and below it.
    high = 1
    while holds(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
