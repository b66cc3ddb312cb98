"""Parameterized hypercomplex multiplication: the weight as a sum of Kronecker products, and the linear layer.

References:
    [Zhang2021] Zhang et al. Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex
        Multiplications with 1/n Parameters. ICLR 2021, arXiv 2102.08597.
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import FamilyError

__all__ = ["PHMLinear", "check_divides", "phm_init_", "phm_weight"]


class PHMLinear(nn.Module):
    """Linear layer with W = sum_i A_i kron F_i, the layer of [Zhang2021].

    It has ``n**3 + in_features * out_features / n`` weights. With n = 1 and A = 1 it is the plain linear layer.

    Args:
        n: Dimension of the learned algebra; divides both widths.
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        bias: Whether to add a learned bias.
        device: Where to create the parameters.
        dtype: Data type of the parameters.

    Attributes:
        A: Multiplication rules of the algebra, ``(n, n, n)``.
        F: Filters, ``(n, out_features / n, in_features / n)``.
        bias: ``(out_features,)`` or None.

    Raises:
        FamilyError: A size is not a positive whole number, or n does not divide a width.
    """

    def __init__(
        self,
        n: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_divides(n, in_features, "in_features")
        check_divides(n, out_features, "out_features")
        self.n, self.in_features, self.out_features = n, in_features, out_features
        self.A = nn.Parameter(torch.empty(n, n, n, device=device, dtype=dtype))
        self.F = nn.Parameter(torch.empty(n, out_features // n, in_features // n, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new parameters; W and the bias are distributed as in ``nn.Linear``."""
        phm_init_(self.A, self.F, self.bias, fan_in=self.in_features)

    def weight(self) -> Tensor:
        """Return the assembled W, ``(out_features, in_features)``."""
        return phm_weight(self.A, self.F)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return functional.linear(x, self.weight(), self.bias)

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Tell a best response what the output units are linear in: the rows of F, each shared by n components."""
        rows = self.out_features // self.n
        return "F", 1, -1, torch.arange(self.out_features) % rows

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        sizes = f"n={self.n}, in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


def phm_weight(A: Tensor, F: Tensor, groups: int = 1) -> Tensor:
    """Return sum_i A_i kron F_i in PyTorch's weight layout, as in [Grassucci2022].

    One contraction over i writes the weight; the n separate Kronecker products never exist.

    Args:
        A: Multiplication rules, ``(n, n, n)``.
        F: Filters, ``(n, out / n, in / (groups * n), *kernel)``.
        groups: Number of independent blocks of channels. Each has its own filters, a slice of F's second axis, and all
            share A, so that the layer equals ``groups`` smaller layers side by side.

    Returns:
        Weight ``(out, in / groups, *kernel)``.
    """
    n, out, inner, *kernel = F.shape
    filters = F.reshape(n, groups, out // groups, inner, *kernel)
    return torch.einsum("iab,igoc...->gaobc...", A, filters).reshape(n * out, n * inner, *kernel)


@torch.no_grad()
def phm_init_(A: Tensor, F: Tensor, bias: Tensor | None, *, fan_in: int) -> None:
    """Initialise a layer so that W is distributed, entry by entry, as the plain PyTorch layer's.

    Every A_i starts as a signed permutation matrix, and the n permutations are the cyclic shifts, so that each entry
    (a, b) is nonzero in exactly one A_i. Block (a, b) of W then is one F_i up to sign: its entries keep F's
    distribution, the n rules are orthogonal to each other (condition number 1 as an n x n**2 matrix), and no block is
    a sum that could cancel. Complex and Hamilton's multiplication are of this form. Random signs let each layer start
    from another rule. [Grassucci2022]'s code draws A and F both by Glorot's formula on tensors that are no weight
    matrices, which ties the variance of W to n instead of to the fan-in.

    F and the bias are uniform on ±1/sqrt(fan_in), PyTorch's own form of He's initialisation.
    """
    n = A.shape[0]
    rows = torch.arange(n, device=A.device)
    signs = torch.randint(0, 2, (n, n), device=A.device).to(A.dtype) * 2 - 1
    A.zero_()
    for i in range(n):
        A[i, rows, (rows + i) % n] = signs[i]
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(F, -bound, bound)
    if bias is not None:
        nn.init.uniform_(bias, -bound, bound)


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
