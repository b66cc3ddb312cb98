"""How often the utility of one task can swing, from the shape of its pieces.

With a threshold z, "the utility is above z" is true or false along the line of the hyperparameter; an oscillation is
a change between the two. The pieces live over hyperparameter and weights together, and the utility is the best value
over the weights.

References:
    [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
        networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
    [Basu05] Basu, Pollack, Roy. On the Betti numbers of sign conditions. Proceedings of the AMS 133, 2005.
"""

from __future__ import annotations

import math

from hypertune.bounds._checks import check_count
from hypertune.bounds.bound import Bound, Target
from hypertune.bounds.sign_conditions import log2_components

__all__ = ["known_oscillations", "piecewise_constant", "piecewise_polynomial", "swings"]


def known_oscillations(count: int, *, target: Target = "utility") -> Bound:
    """Record a number of oscillations that is known by other means, such as the breakpoints of a step function.

    Args:
        count: Most changes of "above z or not" along the line, for any task and any z; from 1.
        target: Which function of the hyperparameter was counted.
    """
    return Bound.of_log2(
        "oscillations",
        math.log2(check_count(count, "count")),
        target=target,
        statement=f"at any threshold the utility of a task crosses at most {count} times",
        assumptions=("the count holds for every task that can be drawn",),
        source="stated by the caller",
    )


def swings(discontinuities: int, maxima: int, *, target: Target = "utility") -> Bound:
    """Count oscillations from jumps and local maxima: ``2 (maxima + 3 discontinuities + 2)``.

    Proof: the discontinuities cut the line into ``d + 1`` open intervals and d points. On an open interval each
    component of the set above z contains a local maximum or touches an end, so there are at most ``maxima + 2 (d + 1)``
    of them, and d more among the points; every component has two ends.

    Args:
        discontinuities: Jumps of the utility of one task, from 0.
        maxima: Strict local maxima and plateaus between jumps, from 0.
        target: Which function of the hyperparameter was counted.
    """
    jumps, tops = check_count(discontinuities, "discontinuities", 0), check_count(maxima, "maxima", 0)
    return Bound.of_log2(
        "oscillations",
        math.log2(2 * (tops + 3 * jumps + 2)),
        target=target,
        statement=f"a utility with {jumps} discontinuities and {tops} local maxima crosses a threshold at most "
        f"{2 * (tops + 3 * jumps + 2)} times",
        assumptions=("one hyperparameter on a line", "the counts hold for every task that can be drawn"),
        source="[Balcan25] section 3, with the constants of the proof here",
    )


def piecewise_constant(pieces: int) -> Bound:
    """Count oscillations of ``max over w of f(a, w)`` with f constant on N connected pieces: ``2 N``.

    Proof: the set of hyperparameters above z is the union of the projections of the pieces above z. The projection of
    a connected set to a line is an interval, and a union of N intervals has at most 2N ends.

    Args:
        pieces: N, from 1.
    """
    count = check_count(pieces, "pieces")
    return Bound.of_log2(
        "oscillations",
        1 + math.log2(count),
        target="training optimum",
        statement=f"the optimum over the weights of a function with {count} constant pieces crosses a threshold at "
        f"most {2 * count} times",
        assumptions=(
            "one hyperparameter on a line",
            "every piece is connected in hyperparameter and weights together",
            "the utility is the global optimum over the weights",
        ),
        source="[Balcan25] section 4, with the constants of the proof here",
    )


def piecewise_polynomial(pieces: int, boundaries: int, weights: int, degree: int) -> Bound:
    """Count oscillations of ``max over w of f(a, w)`` with f polynomial on pieces with polynomial borders.

    ``2 N C(M + 1, d + 1, D)``, with C the components of `sign_conditions.log2_components`. Proof: on one piece, the
    points above z satisfy a sign condition on the M borders and on f - z; each component projects to an interval.

    Args:
        pieces: N, from 1.
        boundaries: M, polynomials that border the pieces, from 0.
        weights: d, number of weights, from 1.
        degree: D, highest degree of a border or a piece, from 1.
    """
    count, borders = check_count(pieces, "pieces"), check_count(boundaries, "boundaries", 0)
    size = check_count(weights, "weights")
    return Bound.of_log2(
        "oscillations",
        1 + math.log2(count) + log2_components(borders + 1, size + 1, degree),
        target="training optimum",
        statement=f"the optimum over {size} weights of a function with {count} polynomial pieces of degree at most "
        f"{degree} and {borders} polynomial borders crosses a threshold that often at most",
        assumptions=(
            "one hyperparameter on a line",
            "pieces and borders are polynomials in hyperparameter and weights",
            "the utility is the global optimum over the weights",
        ),
        source="[Balcan25] section 5, with the constants of the proof here and [Basu05]",
    )
