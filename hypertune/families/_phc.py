"""Parameterized hypercomplex convolutions in one, two and three dimensions.

References:
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.errors import FamilyError, did_you_mean
from hypertune.families._algebras import LEARNED
from hypertune.families._phm_layer import PHLayer

__all__ = ["PHConv1d", "PHConv2d", "PHConv3d"]

_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _PHConv(PHLayer):
    """What the three convolutions share; a subclass fixes the number of spatial axes."""

    spatial: ClassVar[int]
    convolve: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        n: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | str | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        algebra: str | Tensor = LEARNED,
        initial: str | Tensor | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        kernel = self._per_axis("kernel_size", kernel_size, low=1)
        super().__init__(
            n,
            in_channels,
            out_channels,
            kernel,
            groups,
            names=("in_channels", "out_channels"),
            bias=bias,
            algebra=algebra,
            initial=initial,
            device=device,
            dtype=dtype,
        )
        if padding_mode not in _PADDING_MODES:
            raise FamilyError(
                "unknown padding mode",
                where="family.padding_mode",
                given=padding_mode,
                expected=f"one of {', '.join(_PADDING_MODES)}",
                fix=did_you_mean(padding_mode, _PADDING_MODES),
            )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel
        self.stride = self._per_axis("stride", stride, low=1)
        self.dilation = self._per_axis("dilation", dilation, low=1)
        self.padding_mode = padding_mode
        self.padding = self._sides(padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_channels, *space)`` to ``(batch, out_channels, *space')``."""
        inside: tuple[int, ...] = (0,) * self.spatial
        if self.padding_mode == "zeros" and all(left == right for left, right in self.padding):
            inside = tuple(left for left, _ in self.padding)
        else:
            # torch pads from the last axis to the first.
            sides = [side for pair in reversed(self.padding) for side in pair]
            x = functional.pad(x, sides, mode=_PADDING_MODES[self.padding_mode])
        return type(self).convolve(x, self._assembled(), self.bias, self.stride, inside, self.dilation, self.groups)

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Tell a best response what the output channels are linear in: the rows of F, each shared by n components."""
        # Channels are ordered by group, then component, then row (`phm_weight`).
        rows = torch.arange(self.out_channels // self.n).reshape(self.groups, 1, -1)
        return "F", 1, -self.spatial - 1, rows.expand(-1, self.n, -1).flatten()

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        names = ("n", "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        values = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"{values}, bias={self.bias is not None}, padding_mode={self.padding_mode}, algebra={self.algebra}"

    def _sides(self, padding: int | str | tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Return the padding before and after each axis."""
        if padding == "valid":
            return ((0, 0),) * self.spatial
        if padding == "same":
            if any(step != 1 for step in self.stride):
                raise FamilyError(
                    "padding 'same' needs stride 1",
                    where="family.padding",
                    given=padding,
                    expected="a number of cells when the stride is larger",
                    fix="use kernel_size // 2",
                )
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            # As in torch: the odd cell goes to the end.
            return tuple((total // 2, total - total // 2) for total in totals)
        if isinstance(padding, str):
            raise FamilyError(
                "unknown padding",
                where="family.padding",
                given=padding,
                expected="'same', 'valid', a number or one per axis",
                fix=did_you_mean(padding, ("same", "valid")),
            )
        return tuple((side, side) for side in self._per_axis("padding", padding, low=0))

    def _per_axis(self, name: str, value: int | tuple[int, ...], *, low: int) -> tuple[int, ...]:
        sizes = tuple(value) if isinstance(value, tuple | list) else (value,) * self.spatial
        whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= low for size in sizes)
        if len(sizes) != self.spatial or not whole:
            raise FamilyError(
                f"wrong {name}",
                where=f"family.{name}",
                given=value,
                expected=f"a whole number of at least {low}, or {self.spatial} of them",
            )
        return sizes


class PHConv1d(_PHConv):
    """1-D convolution with W = sum_i A_i kron F_i, as in [Grassucci2022]; arguments as in ``nn.Conv1d`` after n.

    It has ``out_channels * in_channels / groups * kernel / n`` weights, and ``n**3`` more when the algebra is learned.
    The real algebra (n = 1) makes it the plain convolution.

    Args:
        n: Dimension of the algebra; divides the channels of each group, in and out.
        in_channels: Channels of the input ``(batch, in_channels, length)``.
        out_channels: Channels of the output.
        kernel_size: Cells.
        stride: Cells.
        padding: Cells on both sides, ``'same'`` or ``'valid'``.
        dilation: Cells between the kernel's cells.
        groups: Blocks of channels that do not see each other; each has its own filters and all share A.
        bias: Whether to add a learned bias per output channel.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        algebra: ``learned``; ``real``, ``complex``, ``quaternion``, ``dihedron`` (n = 1, 2, 4, 4); or a tensor of fixed
            rules ``(n, n, n)``, where [i, a, b] is the part along e_a of the product e_i e_b.
        initial: What learned rules start from, a named algebra or a tensor; random by default.
        device: Where to create the parameters.
        dtype: Data type of the parameters.

    Attributes:
        A: Multiplication rules of the algebra, ``(n, n, n)``; a parameter when learned, else a buffer.
        F: Filters, ``(n, out_channels / n, in_channels / (groups * n), *kernel_size)``.

    Raises:
        FamilyError: An argument is wrong, n does not divide the channels of a group, or the algebra is unknown, has
            another dimension than n or is no tensor of rules.
    """

    spatial = 1
    convolve = staticmethod(functional.conv1d)


class PHConv2d(_PHConv):
    """2-D form of `PHConv1d`: input ``(batch, in_channels, height, width)``; sizes as a number or one per axis."""

    spatial = 2
    convolve = staticmethod(functional.conv2d)


class PHConv3d(_PHConv):
    """3-D form of `PHConv1d`: input ``(batch, in_channels, depth, height, width)``; sizes as for `PHConv2d`."""

    spatial = 3
    convolve = staticmethod(functional.conv3d)
