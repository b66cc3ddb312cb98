"""What the papers state up to a constant: it shows how the dimension grows, and nothing may be computed from it.

References:
    [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
        networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
    [Le26] Le, Nguyen, Nguyen. Data-driven tuning of several hyperparameters, with training and validation objectives.
        ICML 2026, arXiv 2602.02406.
"""

from __future__ import annotations

import math

from hypertune.bounds._checks import check_count
from hypertune.bounds.bound import Bound, Target

__all__ = ["bilevel_order", "piecewise_constant_order", "piecewise_polynomial_order"]


def piecewise_constant_order(pieces: int) -> Bound:
    """Return the order ``log N`` for N constant pieces ([Balcan25] section 4); `piecewise.piecewise_constant` is exact.

    Args:
        pieces: N, from 1.
    """
    return _order(
        math.log2(check_count(pieces, "pieces")), "training optimum", "log2 of the pieces", "[Balcan25] section 4"
    )


def piecewise_polynomial_order(pieces: int, boundaries: int, weights: int, degree: int) -> Bound:
    """Return the order ``log N + d log(D M)`` ([Balcan25] section 5); `piecewise.piecewise_polynomial` is exact.

    Args:
        pieces: N, from 1.
        boundaries: M, polynomials that border the pieces, from 1.
        weights: d, from 1.
        degree: D, from 1.
    """
    borders = check_count(degree, "degree") * check_count(boundaries, "boundaries")
    value = math.log2(check_count(pieces, "pieces")) + check_count(weights, "weights") * math.log2(borders)
    return _order(
        value, "training optimum", "log2 of the pieces + weights * log2(degree * borders)", "[Balcan25] section 5"
    )


def bilevel_order(
    hyperparameters: int, weights: int, pieces_training: int, pieces_validation: int, boundaries: int, degree: int
) -> Bound:
    """Return the order ``p log(N_f N_g) + p d^2 log(2 + M D)`` of [Le26] for validation at a training optimum.

    Args:
        hyperparameters: p, from 1.
        weights: d, from 1.
        pieces_training: N_f, polynomial pieces of the training objective, from 1.
        pieces_validation: N_g, polynomial pieces of the validation objective, from 1.
        boundaries: M, borders of both together, from 0.
        degree: D, from 1.
    """
    p, d = check_count(hyperparameters, "hyperparameters"), check_count(weights, "weights")
    pieces = check_count(pieces_training, "pieces_training") * check_count(pieces_validation, "pieces_validation")
    borders = check_count(boundaries, "boundaries", 0) * check_count(degree, "degree")
    return _order(
        p * math.log2(pieces) + p * d**2 * math.log2(2 + borders),
        "validation at training optimum",
        "hyperparameters * (log2 of the pieces + weights^2 * log2(2 + degree * borders))",
        "[Le26]",
    )


def _order(value: float, target: Target, statement: str, source: str) -> Bound:
    return Bound(
        "pseudo-dimension",
        value,
        math.log2(value) if value > 0 else -math.inf,
        "order",
        target,
        f"the pseudo-dimension grows at most as {statement}",
        ("the constant is not stated", "pieces and borders are polynomials in hyperparameters and weights"),
        source,
    )
