"""Which layers a network is made of: complex ones, or those of a real twin that sees the two parts as channels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from hypertune.families._complex_activations import complex_activation
from hypertune.families._complex_arithmetic import check_complex
from hypertune.families._complex_convolution import ComplexConv1d, ComplexConv2d, ComplexConv3d
from hypertune.families._complex_heads import real_parts
from hypertune.families._complex_normalization import ComplexBatchNorm, ComplexLayerNorm
from hypertune.families._complex_sequence import ComplexSequential

__all__ = ["KINDS", "NORMS", "LayerSet", "RealParts", "ResidualBlock", "layer_set"]

KINDS = ("complex", "real", "real_doubled")
"""Complex layers; a real twin of the same width; a real twin with about as many parameters as the complex network."""

NORMS = ("batch", "layer")

_COMPLEX: dict[int, type[ComplexConv1d | ComplexConv2d | ComplexConv3d]] = {
    1: ComplexConv1d,
    2: ComplexConv2d,
    3: ComplexConv3d,
}
_REAL: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


@dataclass(frozen=True, slots=True)
class LayerSet:
    """Makers of layers for one kind of network.

    Attributes:
        is_complex: Whether feature maps are complex.
        inputs: Makes what the network does with its complex inputs first.
        input_channels: Channels after that.
        width: Channels of the first stage.
        convolution: ``convolution(inputs, outputs, kernel_size, stride, dilation)``, without bias, padded so that
            stride 1 keeps the size.
        norm: ``norm(channels)``.
        activation: ``activation(channels)``.
    """

    is_complex: bool
    inputs: Callable[[], nn.Module]
    input_channels: int
    width: int
    convolution: Callable[[int, int, int, tuple[int, ...], int], nn.Module]
    norm: Callable[[int], nn.Module]
    activation: Callable[[int], nn.Module]


class RealParts(nn.Module):
    """Complex ``(batch, channels, ...)`` to real ``(batch, 2 * channels, ...)``: what a real twin starts with."""

    def forward(self, x: Tensor) -> Tensor:
        """Map complex inputs.

        Raises:
            FamilyError: The inputs are real.
        """
        check_complex(x, "the real twin of a complex network")
        return real_parts(x)


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, which is the identity where the shape allows.

    He et al. 2016, arXiv 1512.03385, figure 5 left.
    """

    def __init__(
        self, layers: LayerSet, inputs: int, outputs: int, kernel_size: int, stride: tuple[int, ...], dilation: int = 1
    ) -> None:
        super().__init__()
        once = (1,) * len(stride)
        self.residual = ComplexSequential(
            layers.convolution(inputs, outputs, kernel_size, stride, dilation),
            layers.norm(outputs),
            layers.activation(outputs),
            layers.convolution(outputs, outputs, kernel_size, once, dilation),
            layers.norm(outputs),
        )
        same = inputs == outputs and max(stride) == 1
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(layers.convolution(inputs, outputs, 1, stride, 1), layers.norm(outputs))
        )
        self.activation = layers.activation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, inputs, *space)`` to ``(batch, outputs, *space')``."""
        outputs: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return outputs


def layer_set(kind: str, axes: int, channels: int, *, width: int, activation: str, norm: str, init: str) -> LayerSet:
    """Return the layers of one of `KINDS`.

    Args:
        kind: ``real`` has the width of the complex network, whose layers have twice its parameters; ``real_doubled`` is
            wider by sqrt(2).
        axes: Spatial axes.
        channels: Complex channels of the inputs.
        width: Channels of the first stage.
        activation: One of `COMPLEX_ACTIVATIONS`; real twins have ReLU.
        norm: One of `NORMS`.
        init: One of `COMPLEX_INITIALIZATIONS`; real twins have torch's own.
    """
    if kind == "complex":
        return LayerSet(
            is_complex=True,
            inputs=nn.Identity,
            input_channels=channels,
            width=width,
            convolution=lambda inputs, outputs, size, stride, dilation: _COMPLEX[axes](
                inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False, init=init
            ),
            norm=ComplexBatchNorm if norm == "batch" else ComplexLayerNorm,
            activation=lambda channels: complex_activation(activation, channels),
        )
    return LayerSet(
        is_complex=False,
        inputs=RealParts,
        input_channels=2 * channels,
        width=width if kind == "real" else round(width * math.sqrt(2)),
        convolution=lambda inputs, outputs, size, stride, dilation: _REAL[axes](
            inputs,
            outputs,
            size,
            stride,  # type: ignore[arg-type]
            dilation * (size // 2),
            dilation,
            bias=False,
        ),
        norm=_BATCH_NORM[axes] if norm == "batch" else lambda channels: nn.GroupNorm(1, channels),
        activation=lambda channels: nn.ReLU(),
    )
