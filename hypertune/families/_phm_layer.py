"""What all parameterized hypercomplex layers share: rules and filters, and the weight they assemble.

References:
    [Zhang2021] Zhang et al. Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex
        Multiplications with 1/n Parameters. ICLR 2021, arXiv 2102.08597.
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.families._algebras import LEARNED, multiplication_rules
from hypertune.families._phm_weight import check_divides, phm_init_
from hypertune.families._weight_cache import WeightCache
from hypertune.kernels.phm_weight import phm_weight

__all__ = ["PHLayer"]


class PHLayer(nn.Module):
    """A layer whose weight is W = sum_i A_i kron F_i ([Zhang2021], eq. 3; [Grassucci2022] for convolutions).

    Evaluated without gradients (``eval()`` and ``no_grad`` or ``inference_mode``), the layer keeps the assembled weight
    until a parameter changes.

    Args:
        n: Dimension of the algebra; divides both widths of each group.
        inputs: Input units, or channels.
        outputs: Output units, or channels.
        kernel: Size of the kernel on each spatial axis; empty for a linear layer.
        groups: Blocks of channels that do not see each other.
        names: What the two widths are called in messages.
        bias: Whether to add a learned bias.
        algebra: ``learned``: A is a parameter. ``real``, ``complex``, ``quaternion``, ``dihedron`` (n = 1, 2, 4, 4), or
            a tensor of rules ``(n, n, n)``: A is a buffer, and stays as it is.
        initial: What a learned A starts from: a named algebra or a tensor of rules; by default random, see `phm_init_`.
        device: Where to create the parameters.
        dtype: Data type of the parameters.

    Attributes:
        A: Multiplication rules of the algebra, ``(n, n, n)``.
        F: Filters, ``(n, outputs / n, inputs / (groups * n), *kernel)``.
        bias: ``(outputs,)`` or None.
        algebra: Name of the algebra; ``custom`` when its rules were given as a tensor.

    Raises:
        FamilyError: A size is not a positive whole number, n does not divide a width, the algebra is unknown, has
            another dimension than n or is no tensor of rules, or ``initial`` comes with fixed rules.
    """

    A: Tensor
    F: Tensor
    bias: Tensor | None

    def __init__(
        self,
        n: int,
        inputs: int,
        outputs: int,
        kernel: tuple[int, ...] = (),
        groups: int = 1,
        *,
        names: tuple[str, str],
        bias: bool,
        algebra: str | Tensor,
        initial: str | Tensor | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        check_divides(n, inputs, names[0], groups=groups)
        check_divides(n, outputs, names[1], groups=groups)
        self.n, self.groups = n, groups
        self.algebra = algebra if isinstance(algebra, str) else "custom"
        # Kept beside A, whose memory may be uninitialised when the parameters are drawn again.
        self._rules = _starting_rules(algebra, initial, n)
        self._fan_in = inputs // groups * math.prod(kernel)
        rules = torch.empty(n, n, n, device=device, dtype=dtype)
        if self.algebra == LEARNED:
            self.A = nn.Parameter(rules)
        else:
            # Persistent: a checkpoint then carries the rules it was trained with.
            self.register_buffer("A", rules)
        filters = (n, outputs // n, inputs // (groups * n), *kernel)
        self.F = nn.Parameter(torch.empty(filters, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(outputs, device=device, dtype=dtype)) if bias else None
        self._cache = WeightCache()
        self.reset_parameters()

    def reset_parameters(self, variance: float | None = None) -> None:
        """Draw new parameters; W and the bias are distributed as in the plain PyTorch layer.

        Args:
            variance: Variance of an entry of W, when it shall be another one; see `phm_init_`.
        """
        phm_init_(self.A, self.F, self.bias, fan_in=self._fan_in, variance=variance, rules=self._rules)

    def weight(self) -> Tensor:
        """Return the assembled W, ``(outputs, inputs / groups, *kernel)``, a new tensor with gradient."""
        return phm_weight(self.A, self.F, self.groups)

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; training keeps no assembled weight."""
        if mode:
            self._cache.clear()
        return super().train(mode)

    def _assembled(self) -> Tensor:
        """Return W to compute with: assembled, or the kept one."""
        # Parameters that someone replaced for one call, by functional_call, will not come again.
        if self.training or not isinstance(self.F, nn.Parameter):
            return self.weight()
        return self._cache.get(self.weight, self.A, self.F)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Another device or data type: the kept weight would only hold memory.
        self._cache.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def __getstate__(self) -> dict[str, Any]:
        # A copy or a pickle assembles its own weight.
        return {**self.__dict__, "_cache": WeightCache()}


def _starting_rules(algebra: str | Tensor, initial: str | Tensor | None, n: int) -> Tensor | None:
    """Return what A is to begin with; None: random."""
    rules = multiplication_rules(algebra, n)
    if initial is None:
        return rules
    if rules is not None:
        raise FamilyError(
            "initial rules for an algebra whose rules are fixed",
            where="family.initial",
            given=initial if isinstance(initial, str) else "a tensor",
            fix=f"use algebra: {LEARNED}, or leave `initial` out",
        )
    started = multiplication_rules(initial, n)
    if started is None:
        raise FamilyError(
            "learned rules do not say what to start from",
            where="family.initial",
            given=initial if isinstance(initial, str) else "a tensor",
            expected="a named algebra or a tensor of rules; None for random rules",
        )
    return started
