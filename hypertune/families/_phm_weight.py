"""The weight of a parameterized hypercomplex layer: its sizes and its initialisation.

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError

__all__ = ["check_divides", "phm_init_"]


@torch.no_grad()
def phm_init_(
    A: Tensor,
    F: Tensor,
    bias: Tensor | None,
    *,
    fan_in: int,
    variance: float | None = None,
    rules: Tensor | None = None,
) -> None:
    """Initialise a layer so that the variance of W is that of the plain layer, whatever the algebra.

    F is uniform with the variance that gives W, whose block (a, b) is ``sum_i A[i, a, b] F_i``, the wanted one, on
    average over the blocks. [Grassucci2022]'s code draws A and F both by Glorot's formula on tensors that are no weight
    matrices, which ties the variance of W to n instead of to the fan-in.

    Without given rules every A_i becomes a signed permutation matrix, and the n permutations are the cyclic shifts, so
    that each entry (a, b) is nonzero in exactly one A_i. Block (a, b) of W then is one F_i up to sign: its entries keep
    F's distribution, the n rules are orthogonal to each other (condition number 1 as an n x n**2 matrix), and no block
    is a sum that could cancel. The named algebras are of this form. Random signs let each layer start from another
    rule.

    Args:
        A: Multiplication rules to write.
        F: Filters to draw.
        bias: Bias to draw, uniform on ±1/sqrt(fan_in), or None.
        fan_in: Inputs of one output unit, kernel included.
        variance: Variance of an entry of W: 2/fan_in is He's, 2/(fan_in + fan_out) Glorot's. By default
            1/(3 fan_in), which is what PyTorch draws for its plain layers.
        rules: What A shall be, ``(n, n, n)``; drawn when None.
    """
    n = A.shape[0]
    gain = 1.0
    if rules is None:
        rows = torch.arange(n, device=A.device)
        signs = torch.randint(0, 2, (n, n), device=A.device).to(A.dtype) * 2 - 1
        A.zero_()
        for i in range(n):
            A[i, rows, (rows + i) % n] = signs[i]
    else:
        A.copy_(rules)
        gain = rules.square().sum(dim=0).mean().item()
    bound = math.sqrt((1 / fan_in if variance is None else 3 * variance) / gain)
    nn.init.uniform_(F, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def check_divides(n: int, width: int, name: str, *, groups: int = 1) -> None:
    """Refuse a width that n (times the groups) does not divide.

    Raises:
        FamilyError: The message names n, the width, and the nearest widths that work.
    """
    for label, size in (("n", n), (name, width), ("groups", groups)):
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise FamilyError(
                "not a size", where=f"family.{label}", given=size, expected="a whole number of at least 1"
            )
    unit = n * groups
    if width % unit:
        below = width // unit * unit
        near = f"{below} or {below + unit}" if below else f"{unit}"
        in_groups = f" in {groups} groups" if groups > 1 else ""
        raise FamilyError(
            f"n = {n} does not divide {name} = {width}{in_groups}",
            where="family.n",
            given=n,
            expected=f"n that divides {width // groups if width % groups == 0 else width}",
            fix=f"change {name} to {near}, or choose another n",
        )
