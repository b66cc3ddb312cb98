"""A number that theory gives before any task is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hypertune.errors import BoundError

__all__ = ["Bound", "Target", "check_bound"]

Quantity: TypeAlias = Literal["oscillations", "pseudo-dimension"]

Target: TypeAlias = Literal["utility", "training optimum", "validation at training optimum"]
"""Which function of the hyperparameter a statement is about.

``utility``: the utility itself has the stated structure, as with label propagation, which trains no weights.
``training optimum``: the best value over the weights of the objective that is also the utility.
``validation at training optimum``: a validation objective at weights that are optimal for a training objective.
None of them is the validation value after some steps of stochastic gradient descent.
"""


@dataclass(frozen=True, slots=True)
class Bound:
    """An upper bound on the complexity of a class of utilities, or its order of growth.

    Attributes:
        quantity: ``oscillations``: most changes of "above z or not" along the hyperparameter's line, for one task and
            any z; or ``pseudo-dimension``.
        value: The bound; infinite when it is beyond the range of floats.
        log2: Base-2 logarithm of ``value``, also where that is infinite.
        kind: ``exact``: an inequality with all constants; ``order``: known up to a constant only, so that nothing may
            be computed from it.
        target: Which function of the hyperparameter it is about.
        statement: The theorem in one sentence.
        assumptions: What has to be true.
        source: Paper and theorem, or where the proof is.
    """

    quantity: Quantity
    value: float
    log2: float
    kind: Literal["exact", "order"]
    target: Target
    statement: str
    assumptions: tuple[str, ...]
    source: str

    @classmethod
    def of_log2(
        cls,
        quantity: Quantity,
        log2: float,
        *,
        target: Target,
        statement: str,
        assumptions: tuple[str, ...],
        source: str,
        kind: Literal["exact", "order"] = "exact",
    ) -> Bound:
        """Make a bound from its base-2 logarithm."""
        value = 2.0**log2 if log2 < 1023 else math.inf
        # Counts are whole numbers: rounding must not leave 9.999999 for 10.
        if kind == "exact" and value < 2**40:
            value = float(round(value))
        return cls(quantity, value, log2, kind, target, statement, assumptions, source)


def check_bound(bound: Bound, utility: Target) -> None:
    """Refuse a bound that says nothing about this utility, or nothing with constants.

    Args:
        bound: The statement to be used.
        utility: What the utility is that it shall be used for.

    Raises:
        BoundError: The bound is an order, or is about another function.
    """
    if bound.kind == "order":
        raise BoundError(
            "is known up to a constant only, so no gap and no number of tasks follows from it",
            where="bound",
            given=bound.statement,
            expected="a bound of kind exact",
            fix="use one of the exact counts, or a certificate from held-out tasks",
        )
    if bound.target != utility:
        raise BoundError(
            "the bound is about another function of the hyperparameter than the utility",
            where="utility",
            given=utility,
            expected=bound.target,
            fix="a validation value after training is not the optimum of the training objective: use a certificate "
            "from held-out tasks",
        )
