"""Multiplication rules of hypercomplex algebras: the named ones, and those a user gives as a tensor.

The rules of an n-dimensional algebra with basis e_0 .. e_{n-1} are a tensor A ``(n, n, n)``: A_i is the matrix of
multiplication by e_i from the left, ``e_i e_b = sum_a A[i, a, b] e_a``.

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
    [Toth2002] Toth. Glimpses of Algebra and Geometry. Springer 2002: the dihedron algebra, also called the
        split-quaternions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypertune.errors import FamilyError, did_you_mean

__all__ = ["ALGEBRAS", "LEARNED", "algebra_dimension", "multiplication_rules"]

LEARNED = "learned"
"""The algebra whose rules are parameters, of any dimension."""

# Row e_i, column e_b: the product e_i e_b.
_PRODUCTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "real": (("1",),),
    "complex": (
        ("1", "i"),
        ("i", "-1"),
    ),
    "quaternion": (
        ("1", "i", "j", "k"),
        ("i", "-1", "k", "-j"),
        ("j", "-k", "-1", "i"),
        ("k", "j", "-i", "-1"),
    ),
    "dihedron": (
        ("1", "i", "j", "k"),
        ("i", "-1", "k", "-j"),
        ("j", "-k", "1", "-i"),
        ("k", "j", "i", "1"),
    ),
}

ALGEBRAS = (LEARNED, *_PRODUCTS)
"""Names of the algebras: `LEARNED`, and those with fixed rules."""


def algebra_dimension(name: str) -> int | None:
    """Return the dimension of a named algebra; None for `LEARNED`, which has any.

    Raises:
        FamilyError: There is no algebra of that name.
    """
    if name == LEARNED:
        return None
    if not isinstance(name, str) or name not in _PRODUCTS:
        raise FamilyError(
            "unknown algebra",
            where="family.algebra",
            given=name,
            expected=f"one of {', '.join(ALGEBRAS)}, or a tensor (n, n, n)",
            fix=did_you_mean(name, ALGEBRAS),
        )
    return len(_PRODUCTS[name])


def multiplication_rules(algebra: str | Tensor, n: int) -> Tensor | None:
    """Return the rules A of an algebra.

    Args:
        algebra: One of `ALGEBRAS`, or the rules themselves, real numbers ``(n, n, n)``.
        n: Dimension the algebra has to have.

    Returns:
        A new tensor ``(n, n, n)``, float64 on the CPU; None for `LEARNED`.

    Raises:
        FamilyError: The name is unknown, the dimension is another, or the tensor is no set of rules.
    """
    if isinstance(algebra, Tensor):
        return _checked(algebra, n)
    dimension = algebra_dimension(algebra)
    if dimension is None:
        return None
    if n != dimension:
        raise FamilyError(
            f"the {algebra} algebra has dimension {dimension}",
            where="family.n",
            given=n,
            expected=str(dimension),
            fix=f"leave n out or set it to {dimension}, or use algebra: {LEARNED}, which has any n",
        )
    rules = torch.zeros(n, n, n, dtype=torch.float64, device="cpu")
    for i, row in enumerate(_PRODUCTS[algebra]):
        for b, product in enumerate(row):
            rules[i, "1ijk".index(product[-1]), b] = -1.0 if product.startswith("-") else 1.0
    return rules


def _checked(rules: Tensor, n: int) -> Tensor:
    if tuple(rules.shape) != (n, n, n):
        problem, given = "the algebra's tensor has another shape", str(tuple(rules.shape))
    elif rules.is_complex() or rules.dtype == torch.bool:
        problem, given = "the algebra's tensor has no real numbers", str(rules.dtype)
    elif not torch.isfinite(rules).all():
        problem, given = "the algebra's tensor has numbers that are not finite", f"{rules}"
    elif not rules.any():
        problem, given = "the algebra multiplies everything to 0", f"{rules}"
    else:
        return rules.detach().to("cpu", torch.float64, copy=True)
    raise FamilyError(
        problem,
        where="family.algebra",
        given=given,
        expected=f"real numbers ({n}, {n}, {n}): [i, a, b] is the part along e_a of the product e_i e_b",
    )
