"""Complex convolutions and transposed convolutions in one, two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from hypertune.errors import FamilyError
from hypertune.families._complex_arithmetic import check_complex, complex_product, full_precision
from hypertune.families._complex_initialization import complex_init_

__all__ = [
    "ComplexConv1d",
    "ComplexConv2d",
    "ComplexConv3d",
    "ComplexConvTranspose1d",
    "ComplexConvTranspose2d",
    "ComplexConvTranspose3d",
]

Sizes = int | tuple[int, ...]


class _ComplexConvNd(_ConvNd):
    """What all have in common; torch's base class reads the arguments and holds the parameters."""

    spatial: ClassVar[int]
    convolve: ClassVar[Callable[..., Tensor]]
    init: str

    def reset_parameters(self) -> None:
        """Draw new parameters."""
        cells = math.prod(self.kernel_size)
        fan_in, fan_out = (channels // self.groups * cells for channels in (self.in_channels, self.out_channels))
        complex_init_(self.weight, self.init, fan_in=fan_in, fan_out=fan_out)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map complex ``(batch, in_channels, *space)`` to complex ``(batch, out_channels, *space)``, of another size.

        Raises:
            FamilyError: The input is real or of another shape.
        """
        self._check(x)
        with full_precision(x):
            outputs = self._product(x)
            return outputs if self.bias is None else outputs + self.bias.reshape(-1, *(1,) * self.spatial)

    def response_units(self) -> tuple[str, int, int, Tensor]:
        """Tell a best response what the output channels are linear in: slices of the kernel along their axis.

        The kernel of a transposed convolution has no axis for the groups; channels at the same place in each group then
        share a gate.
        """
        axis = 1 if self.transposed else 0
        channels = torch.arange(self.out_channels) % self.weight.shape[axis]
        return "weight", axis, -self.spatial - 1, channels

    def _product(self, x: Tensor) -> Tensor:
        """Return the convolution without bias."""
        raise NotImplementedError

    def _check(self, x: Tensor) -> None:
        check_complex(x, type(self).__name__)
        if x.dim() != self.spatial + 2 or x.shape[1] != self.in_channels:
            raise FamilyError(
                f"{type(self).__name__} takes inputs of another shape",
                where="model.inputs",
                given=tuple(x.shape),
                expected=f"(batch, {self.in_channels}, {', '.join(['size'] * self.spatial)})",
                fix="check the layer before it, or the task's input_shape",
            )


class _ComplexConv(_ComplexConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        init: str = "he",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        self.__dict__["init"] = init  # the base class draws the parameters, before attributes can be set
        axes = self.spatial
        sides = padding if isinstance(padding, str) else _per_axis(padding, axes)
        super().__init__(
            in_channels,
            out_channels,
            _per_axis(kernel_size, axes),
            _per_axis(stride, axes),
            sides,
            _per_axis(dilation, axes),
            False,
            (0,) * axes,
            groups,
            bias,
            padding_mode,  # type: ignore[arg-type]  # torch checks the name
            device=device,
            dtype=dtype,
        )

    def _product(self, x: Tensor) -> Tensor:
        padding: str | tuple[int, ...] = self.padding
        if self.padding_mode != "zeros":
            x = functional.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0,) * self.spatial

        def run(x: Tensor, weight: Tensor) -> Tensor:
            return type(self).convolve(x, weight, None, self.stride, padding, self.dilation, self.groups)

        return complex_product(run, x, self.weight, groups=self.groups)


class _ComplexConvTranspose(_ComplexConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        *,
        init: str = "he",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.complex64,
    ) -> None:
        self.__dict__["init"] = init
        axes = self.spatial
        super().__init__(
            in_channels,
            out_channels,
            _per_axis(kernel_size, axes),
            _per_axis(stride, axes),
            _per_axis(padding, axes),
            _per_axis(dilation, axes),
            True,
            _per_axis(output_padding, axes),
            groups,
            bias,
            "zeros",
            device=device,
            dtype=dtype,
        )

    def _product(self, x: Tensor) -> Tensor:
        def run(x: Tensor, weight: Tensor) -> Tensor:
            return type(self).convolve(
                x, weight, None, self.stride, self.padding, self.output_padding, self.groups, self.dilation
            )

        return complex_product(run, x, self.weight, groups=self.groups, transposed=True)


def _per_axis(value: Sizes, axes: int) -> tuple[int, ...]:
    sizes = tuple(value) if isinstance(value, tuple | list) else (value,) * axes
    if len(sizes) != axes:
        raise FamilyError(
            "wrong number of sizes",
            where="family.convolution",
            given=value,
            expected=f"a whole number, or {axes} of them",
        )
    return sizes


class ComplexConv1d(_ComplexConv):
    """Complex convolution of ``(batch, in_channels, length)``; arguments as of ``nn.Conv1d``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Cells.
        stride: Cells.
        padding: Cells on both sides, ``'same'`` or ``'valid'``.
        dilation: Cells between the kernel's cells.
        groups: Blocks of channels that do not see each other.
        bias: Whether to add a learned complex bias per output channel; it starts at 0.
        padding_mode: ``zeros``, ``reflect``, ``replicate`` or ``circular``.
        init: One of `COMPLEX_INITIALIZATIONS`.
        device: Where to create the parameters.
        dtype: Complex data type of the parameters.

    Attributes:
        weight: ``(out_channels, in_channels / groups, kernel)``, complex.
        bias: ``(out_channels,)``, complex, or None.

    Raises:
        FamilyError: The number of sizes is not that of the axes, or the initialization is unknown.
        ValueError: Groups do not divide the channels, or an argument is out of range, as torch says it.
    """

    spatial = 1
    convolve = staticmethod(functional.conv1d)


class ComplexConv2d(_ComplexConv):
    """2-D form of `ComplexConv1d`: ``(batch, in_channels, height, width)``; sizes as a number or one per axis."""

    spatial = 2
    convolve = staticmethod(functional.conv2d)


class ComplexConv3d(_ComplexConv):
    """3-D form of `ComplexConv1d`: ``(batch, in_channels, depth, height, width)``; sizes as for `ComplexConv2d`."""

    spatial = 3
    convolve = staticmethod(functional.conv3d)


class ComplexConvTranspose1d(_ComplexConvTranspose):
    """Complex transposed convolution of ``(batch, in_channels, length)``; arguments as of ``nn.ConvTranspose1d``.

    The product is not conjugated: it is the transpose of `ComplexConv1d` as a matrix, not its adjoint.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Cells.
        stride: Cells.
        padding: Cells that the output loses on both sides.
        output_padding: Cells added to the output on one side.
        groups: Blocks of channels that do not see each other.
        bias: Whether to add a learned complex bias per output channel; it starts at 0.
        dilation: Cells between the kernel's cells.
        init: One of `COMPLEX_INITIALIZATIONS`.
        device: Where to create the parameters.
        dtype: Complex data type of the parameters.

    Attributes:
        weight: ``(in_channels, out_channels / groups, kernel)``, complex.
        bias: ``(out_channels,)``, complex, or None.

    Raises:
        FamilyError: The number of sizes is not that of the axes, or the initialization is unknown.
        ValueError: Groups do not divide the channels, or an argument is out of range, as torch says it.
    """

    spatial = 1
    convolve = staticmethod(functional.conv_transpose1d)


class ComplexConvTranspose2d(_ComplexConvTranspose):
    """2-D form of `ComplexConvTranspose1d`."""

    spatial = 2
    convolve = staticmethod(functional.conv_transpose2d)


class ComplexConvTranspose3d(_ComplexConvTranspose):
    """3-D form of `ComplexConvTranspose1d`."""

    spatial = 3
    convolve = staticmethod(functional.conv_transpose3d)
