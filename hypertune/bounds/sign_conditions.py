"""How many sign conditions a set of polynomials can realize.

References:
    [Basu05] Basu, Pollack, Roy. On the Betti numbers of sign conditions. Proceedings of the AMS 133, 2005.
    [Warren68] Warren. Lower bounds for approximation by nonlinear manifolds. Transactions of the AMS 133, 1968.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln, logsumexp

from hypertune.bounds._checks import check_count

__all__ = ["log2_components"]


def log2_components(polynomials: int, variables: int, degree: int) -> float:
    """Return log2 of the most connected components that all sign conditions have together.

    ``sum over j up to min(s, k) of C(s, j) 4^j D (2D - 1)^(k - 1)`` for s polynomials of degree at most D in k
    variables ([Basu05], main theorem for b_0). Every sign condition that occurs has a component, so it bounds their
    number too, and it is at most half of the better known ``(8 e D s / k)^k`` for s at least k ([Warren68]): the sum
    is at most ``(4 e s / k)^k``, and ``D (2D - 1)^(k - 1)`` at most ``(2D)^k / 2``.

    Args:
        polynomials: s, from 0.
        variables: k, from 1.
        degree: D, from 1.

    Raises:
        ConfigError: A count is out of range.
    """
    s = check_count(polynomials, "polynomials", 0)
    k = check_count(variables, "variables")
    d = check_count(degree, "degree")
    j = np.arange(min(s, k) + 1, dtype=np.float64)
    terms = gammaln(s + 1.0) - gammaln(j + 1) - gammaln(s - j + 1) + j * math.log(4)
    return float(logsumexp(terms)) / math.log(2) + math.log2(d) + (k - 1) * math.log2(2 * d - 1)
