"""How often the training optimum can swing when two activations are mixed: ``a first(x) + (1 - a) second(x)``.

References:
    [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
        networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from hypertune.bounds._checks import check_count
from hypertune.bounds.bound import Bound
from hypertune.bounds.sign_conditions import log2_components
from hypertune.errors import BoundError, did_you_mean

__all__ = ["Objective", "activation_interpolation"]

Objective: TypeAlias = Literal["classification", "squared error"]
"""``classification``: share of training examples classified correctly; ``squared error``: mean squared error."""

# Breakpoints and degree of the pieces.
_PIECEWISE_POLYNOMIAL: dict[str, tuple[frozenset[float], int]] = {
    "identity": (frozenset(), 1),
    "square": (frozenset(), 2),
    "relu": (frozenset({0.0}), 1),
    "leaky_relu": (frozenset({0.0}), 1),
    "abs": (frozenset({0.0}), 1),
    "relu_squared": (frozenset({0.0}), 2),
    "relu6": (frozenset({0.0, 6.0}), 1),
    "hardtanh": (frozenset({-1.0, 1.0}), 1),
    "hardsigmoid": (frozenset({-3.0, 3.0}), 1),
    "hardswish": (frozenset({-3.0, 3.0}), 2),
}
_SMOOTH = ("celu", "elu", "gelu", "mish", "selu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh")
_OBJECTIVES = ("classification", "squared error")


def activation_interpolation(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    examples: int,
    *,
    first: str = "relu",
    second: str = "hardtanh",
    objective: Objective = "classification",
) -> Bound:
    """Bound the oscillations for a perceptron with biases whose activation mixes two piecewise polynomials.

    With T examples, b breakpoints and degree D0 of both activations together, layer widths k_l and W_l parameters up
    to hidden layer l: its inputs are polynomials of degree ``D_1 = 1, D_(l+1) = D0 D_l + 2`` in the mixing weight and
    the parameters, so the breakpoints make ``s_l = T k_l b`` polynomials, and all layers ``N = product of
    C(s_l, W_l + 1, D_l)`` regions, C of `sign_conditions.log2_components`. In each region the outputs are polynomials;
    what is above a threshold is a union of sign conditions on the borders and on the differences of the outputs
    (classification) or on the squared error minus the threshold. Each component projects to an interval, and an
    interval has two ends.

    Args:
        inputs: Features of an example, from 1.
        hidden: Widths of the hidden layers, at least one.
        outputs: Outputs of the network: classes (1 for one logit), or regression targets.
        examples: T, training examples of a task, from 1.
        first: Name of one activation.
        second: Name of the other.
        objective: What training optimizes, which is also the utility.

    Returns:
        A bound on oscillations; for real networks it is astronomically large, so read ``log2``.

    Raises:
        BoundError: An activation that is not piecewise polynomial, such as tanh, or an objective with exponentials,
            such as cross-entropy: the theorem does not cover them.
    """
    if objective not in _OBJECTIVES:
        raise BoundError(
            "the theorem does not cover this objective: it needs a piecewise polynomial in the outputs, and softmax "
            "or logarithms are none",
            where="objective",
            given=objective,
            expected=" or ".join(_OBJECTIVES),
            fix="use a certificate from held-out tasks",
        )
    points_one, degree_one = _pieces(first, "first")
    points_two, degree_two = _pieces(second, "second")
    breakpoints, activation_degree = len(points_one | points_two), max(degree_one, degree_two)
    rows = check_count(examples, "examples")
    if not hidden:
        raise BoundError("there is no activation to mix", where="hidden", given=hidden, expected="a hidden layer")

    log2_regions, borders, parameters, degree = 0.0, 0, 0, 1
    width = check_count(inputs, "inputs")
    for index, units in enumerate(hidden):
        parameters += (width + 1) * check_count(units, f"hidden[{index}]")
        width = units
        polynomials = rows * units * breakpoints
        log2_regions += log2_components(polynomials, parameters + 1, degree) if polynomials else 0.0
        borders += polynomials
        degree = activation_degree * degree + 2
    classes = check_count(outputs, "outputs")
    parameters += (width + 1) * classes
    if objective == "classification":
        borders += rows * max(1, classes * (classes - 1) // 2)
    else:
        borders, degree = borders + 1, 2 * degree
    return Bound.of_log2(
        "oscillations",
        1 + log2_regions + log2_components(borders, parameters + 1, degree),
        target="training optimum",
        statement=f"the optimum over {parameters} weights of {objective} on {rows} examples crosses a threshold that "
        f"often at most as {first} and {second} are mixed",
        assumptions=(
            "the mixing weight is one number, shared by all units",
            "the utility is the global optimum over the weights of the training objective",
            "every task has at most that many examples",
        ),
        source="[Balcan25], activation functions, with the constants of the proof here",
    )


def _pieces(name: str, where: str) -> tuple[frozenset[float], int]:
    if name in _PIECEWISE_POLYNOMIAL:
        return _PIECEWISE_POLYNOMIAL[name]
    known = name in _SMOOTH
    raise BoundError(
        "is not piecewise polynomial, which the theorem needs" if known else "is no activation that is known here",
        where=where,
        given=name,
        expected=f"one of {', '.join(sorted(_PIECEWISE_POLYNOMIAL))}",
        fix="use a certificate from held-out tasks"
        if known
        else did_you_mean(name, [*_PIECEWISE_POLYNOMIAL, *_SMOOTH]),
    )
