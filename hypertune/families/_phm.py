"""The parameterized hypercomplex linear layer.

References:
    [Zhang2021] Zhang et al. Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex
        Multiplications with 1/n Parameters. ICLR 2021, arXiv 2102.08597.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.families._algebras import LEARNED
from hypertune.families._phm_layer import PHLayer

__all__ = ["PHMLinear"]


class PHMLinear(PHLayer):
    """Linear layer with W = sum_i A_i kron F_i, the layer of [Zhang2021].

    It has ``in_features * out_features / n`` weights, and ``n**3`` more when the algebra is learned. The real algebra
    (n = 1) makes it the plain linear layer.

    Args:
        n: Dimension of the algebra; divides both widths.
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        bias: Whether to add a learned bias.
        algebra: ``learned``; ``real``, ``complex``, ``quaternion``, ``dihedron`` (n = 1, 2, 4, 4); or a tensor of fixed
            rules ``(n, n, n)``, where [i, a, b] is the part along e_a of the product e_i e_b.
        initial: What learned rules start from, a named algebra or a tensor; random by default.
        device: Where to create the parameters.
        dtype: Data type of the parameters.

    Attributes:
        A: Multiplication rules of the algebra, ``(n, n, n)``; a parameter when learned, else a buffer.
        F: Filters, ``(n, out_features / n, in_features / n)``.
        bias: ``(out_features,)`` or None.

    Raises:
        FamilyError: A size is not a positive whole number, n does not divide a width, or the algebra is unknown, has
            another dimension than n or is no tensor of rules.
    """

    def __init__(
        self,
        n: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        algebra: str | Tensor = LEARNED,
        initial: str | Tensor | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            n,
            in_features,
            out_features,
            names=("in_features", "out_features"),
            bias=bias,
            algebra=algebra,
            initial=initial,
            device=device,
            dtype=dtype,
        )
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_features)`` to ``(..., out_features)``."""
        return functional.linear(x, self._assembled(), self.bias)

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Tell a best response what the output units are linear in: the rows of F, each shared by n components."""
        rows = self.out_features // self.n
        return "F", 1, -1, torch.arange(self.out_features) % rows

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        sizes = f"n={self.n}, in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}, algebra={self.algebra}"
