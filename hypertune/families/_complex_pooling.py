"""Pooling of complex feature maps: by the largest modulus, and averages.

References:
    [Guberman2016] Guberman. On Complex Valued Convolutional Neural Networks. arXiv 1602.09046.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import FamilyError
from hypertune.families._complex_arithmetic import check_complex

__all__ = ["ComplexAdaptiveAvgPool", "ComplexAvgPool", "ComplexMaxPool"]

Pool = Callable[..., Tensor]
_MAXIMUM: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    1: functional.max_pool1d_with_indices,
    2: functional.max_pool2d_with_indices,
    3: functional.max_pool3d_with_indices,
}
_AVERAGE: dict[int, Pool] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_ADAPTIVE: dict[int, Pool] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


class _Windows(nn.Module):
    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] = 0,
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class ComplexMaxPool(_Windows):
    """Keep the entry of largest modulus in each window, with its phase ([Guberman2016] section 3.2).

    Args:
        kernel_size: Side of the windows; a number or one per axis.
        stride: Step of the windows; their side by default.
        padding: Cells of modulus 0 on both sides, at most half a window.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map complex ``(batch, channels, *space)``, one to three axes of space, to ``(batch, channels, *less)``."""
        _check(x, "ComplexMaxPool")
        with torch.no_grad():
            largest, index = _MAXIMUM[x.dim() - 2](x.abs(), self.kernel_size, self.stride, self.padding)
        return x.flatten(2).gather(2, index.flatten(2)).reshape(largest.shape)


class ComplexAvgPool(_Windows):
    """Average each window: a mean of complex numbers, so opposite phases cancel.

    Args:
        kernel_size: Side of the windows; a number or one per axis.
        stride: Step of the windows; their side by default.
        padding: Zeros on both sides, counted in the mean as in ``nn.AvgPool2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map complex ``(batch, channels, *space)``, one to three axes of space, to ``(batch, channels, *less)``."""
        _check(x, "ComplexAvgPool")
        pool = _AVERAGE[x.dim() - 2]
        real, imag = (pool(part, self.kernel_size, self.stride, self.padding) for part in (x.real, x.imag))
        return torch.complex(real, imag)


class ComplexAdaptiveAvgPool(nn.Module):
    """Average down to a given number of cells per axis; takes real feature maps too.

    Args:
        output_size: Cells along every spatial axis, or one number per axis.
    """

    def __init__(self, output_size: int | tuple[int, ...]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` with one to three spatial axes to ``(batch, channels, *output_size)``."""
        pool = _ADAPTIVE[x.dim() - 2]
        if not x.is_complex():
            return pool(x, self.output_size)
        return torch.complex(pool(x.real, self.output_size), pool(x.imag, self.output_size))

    def extra_repr(self) -> str:
        """Return the sizes, as ``print(module)`` shows them."""
        return f"output_size={self.output_size}"


def _check(x: Tensor, layer: str) -> None:
    check_complex(x, layer)
    if x.dim() - 2 not in _AVERAGE:
        raise FamilyError(
            f"{layer} takes inputs of another shape",
            where="model.inputs",
            given=tuple(x.shape),
            expected="(batch, channels, *space) with one to three spatial axes",
            fix="keep the batch axis, and pool before flattening",
        )
