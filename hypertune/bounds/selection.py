"""How much of a winner's value is the luck of being chosen: one data set, many trials.

The trial with the best validation value is partly the best and partly the one that the validation examples favoured.
Examples that chose nothing show how much of its value remains on others.

References:
    [Clopper34] Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial.
        Biometrika 26, 1934.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import betaincinv, stdtrit

from hypertune.bounds._checks import check_count, check_delta
from hypertune.errors import BoundError
from hypertune.records import Direction

__all__ = ["SelectionCertificate", "selection_certificate"]

_EXACT = 1e-4  # metrics are computed in float32
_LEAST = 30  # examples from which Student's t is taken for the mean of losses


@dataclass(frozen=True, slots=True)
class SelectionCertificate:
    """How optimistic the value that a winner was chosen by is; it holds with probability ``1 - delta``.

    Attributes:
        kind: ``clopper-pearson``, which is exact, or ``student-t``, which is approximate.
        optimism: The value is better than the expected value on new examples by at most this; may be negative.
        bound: The expected value on new examples is at least (when maximizing) or at most this.
        estimate: Mean over the examples the certificate is from.
        value: The value the winner was chosen by.
        n: Number of those examples.
        delta: Probability of error.
        candidates: Number of models the certificate pays for; 1 when its examples chose nothing.
        approximate: Whether it rests on the mean of so many examples being normal.
        assumptions: What has to be true.
        source: Where it is from.
    """

    kind: str
    optimism: float
    bound: float
    estimate: float
    value: float
    n: int
    delta: float
    candidates: int
    approximate: bool
    assumptions: tuple[str, ...]
    source: str


def selection_certificate(
    value: float,
    estimate: float,
    standard_error: float,
    n: int,
    delta: float = 0.05,
    *,
    direction: Direction,
    candidates: int = 1,
) -> SelectionCertificate:
    """Bound by how much the value of the chosen model is better than its expectation on new examples.

    Values per example that are all 0 or 1, such as those of an accuracy, are recognized by their mean and standard
    error, and then the binomial bound is exact. Others have no known limits, such as the cross-entropy, so that no
    bound on their mean holds for every distribution; Student's t is used and the result is marked approximate.

    Args:
        value: The value the model was chosen by.
        estimate: Mean of the same metric over the examples to certify with.
        standard_error: Its standard error, the sample standard deviation over ``sqrt(n)``.
        n: Number of those examples, from 2; from 30 for values that are not 0 or 1.
        delta: Probability of error, in (0, 1).
        direction: Whether the metric is minimized or maximized.
        candidates: 1 for examples that had no part in any choice; else all models that could have been chosen, which
            must have been fixed without looking at the examples.

    Raises:
        BoundError: Too few examples, or numbers that are not finite.
        ConfigError: ``delta`` or ``candidates`` is out of range.
    """
    level = check_delta(delta) / check_count(candidates, "candidates")
    check_count(n, "n", least=2)
    for name, number in (("value", value), ("estimate", estimate), ("standard_error", standard_error)):
        if not math.isfinite(number):
            raise BoundError("is not finite", where=name, given=number, expected="a finite number")
    up = direction == "maximize"
    if _binary(estimate, standard_error, n):
        kind, source = "clopper-pearson", "[Clopper34]"
        ones = round(estimate * n)
        if up:
            bound = float(betaincinv(ones, n - ones + 1, level)) if ones else 0.0
        else:
            bound = float(betaincinv(ones + 1, n - ones, 1 - level)) if ones < n else 1.0
    elif n < _LEAST:
        raise BoundError(
            "too few examples for a mean of values without known limits",
            where="n",
            given=n,
            expected=f"at least {_LEAST}",
            fix="reserve more of the validation split, or enlarge the test split",
        )
    else:
        kind, source = "student-t", "Student's t, one-sided"
        margin = float(stdtrit(n - 1, 1 - level)) * standard_error
        bound = estimate - margin if up else estimate + margin
    approximate = kind == "student-t"
    chosen = (
        "the examples had no part in choosing it"
        if candidates == 1
        else f"the {candidates} models it was chosen from were fixed without looking at the examples"
    )
    normal = (f"the mean of {n} values is close to normal",) if approximate else ()
    return SelectionCertificate(
        kind=kind,
        optimism=value - bound if up else bound - value,
        bound=bound,
        estimate=estimate,
        value=value,
        n=n,
        delta=delta,
        candidates=candidates,
        approximate=approximate,
        assumptions=("the examples are independent draws from where new ones come from", chosen, *normal),
        source=source + (", union bound" if candidates > 1 else ""),
    )


def _binary(mean: float, standard_error: float, n: int) -> bool:
    """Whether n values with that mean and standard error are all 0 or 1: only they have the largest variance."""
    if not -_EXACT <= mean <= 1 + _EXACT or abs(mean * n - round(mean * n)) > _EXACT * n:
        return False
    share = round(mean * n) / n
    return math.isclose(standard_error**2 * (n - 1), share * (1 - share), rel_tol=_EXACT, abs_tol=1e-12)
