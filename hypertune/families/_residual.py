"""Small residual network in one, two or three dimensions whose convolutions may be of any kind.

References:
    [He2016] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385.
    [Li2019] Li, Chen, Hu, Yang. Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift.
        CVPR 2019, arXiv 1801.05134.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from hypertune.families._activations import Activation, activation_module
from hypertune.records import TaskSpec

__all__ = ["BasicBlock", "Convolution", "ResidualNetwork", "batch_norm", "plain_convolution", "strides"]

Convolution: TypeAlias = Callable[[int, int, int, tuple[int, ...]], nn.Module]
"""``convolution(in_channels, out_channels, kernel_size, stride)``, without bias, padded by ``kernel_size // 2``."""

_CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_BatchNorm: TypeAlias = type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]
_NORMS: dict[int, _BatchNorm] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
_SMALLEST_HALVED = 4  # an axis is halved while at least two cells remain


class ResidualNetwork(nn.Module):
    """Plain stem, ``depth`` stages of one basic block each ([He2016] fig. 5 left), average over space, plain head.

    Stage s has ``width * 2**s`` channels. Between stages every axis that has at least four cells is halved by stride.
    Dropout acts once, before the head: inside the blocks it would shift the variance that BatchNorm has learned
    ([Li2019]).

    Args:
        task: Shape of the problem; ``input_shape`` is ``(channels, *space)`` with one to three spatial axes.
        convolution: Makes the convolutions of the stages, shortcuts included; the stem is always plain, because the
            input's channels are what they are.
        width: Channels of the first stage.
        depth: Number of stages.
        dropout: Probability to drop a feature before the head.
        kernel_size: Side of the kernels, odd.
        activation: The activation.
    """

    def __init__(
        self,
        task: TaskSpec,
        convolution: Convolution,
        *,
        width: int,
        depth: int,
        dropout: float,
        kernel_size: int = 3,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        channels, *space = task.input_shape
        norm = batch_norm(len(space))
        stem = plain_convolution(len(space))
        self.stem = nn.Sequential(
            stem(channels, width, kernel_size, (1,) * len(space)), norm(width), activation_module(activation)
        )
        stages, channels = [], width
        for stage in range(depth):
            stride = strides(space) if stage else (1,) * len(space)
            space = [-(-size // step) for size, step in zip(space, stride, strict=True)]
            stages.append(BasicBlock(convolution, norm, channels, width * 2**stage, kernel_size, stride, activation))
            channels = width * 2**stage
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        features = self.stages(self.stem(x)).flatten(2).mean(dim=2)
        outputs: Tensor = self.head(self.dropout(features))
        return outputs


def plain_convolution(axes: int) -> Convolution:
    """Return the real convolution over one, two or three spatial axes."""
    kind = _CONVOLUTIONS[axes]

    def convolution(inputs: int, outputs: int, kernel_size: int, stride: tuple[int, ...]) -> nn.Module:
        return kind(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False)  # type: ignore[arg-type]

    return convolution


def batch_norm(axes: int) -> _BatchNorm:
    """Return the batch normalization over one, two or three spatial axes."""
    return _NORMS[axes]


def strides(space: Sequence[int]) -> tuple[int, ...]:
    """Return the stride that halves each axis of at least four cells, so that two or more remain."""
    return tuple(2 if size >= _SMALLEST_HALVED else 1 for size in space)


class ResidualSum(nn.Module):
    """Some layers and a shortcut beside them, which is the identity where the shape allows; then the activation.

    Args:
        residual: The layers.
        convolution: Makes the shortcut's convolution.
        norm: Makes the normalization of a number of channels.
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Stride of the layers on each axis.
        activation: The activation.
    """

    def __init__(
        self,
        residual: nn.Module,
        convolution: Convolution,
        norm: Callable[[int], nn.Module],
        inputs: int,
        outputs: int,
        stride: tuple[int, ...],
        activation: Activation,
    ) -> None:
        super().__init__()
        self.residual = residual
        same = inputs == outputs and max(stride) == 1
        self.shortcut: nn.Module = (
            nn.Identity() if same else nn.Sequential(convolution(inputs, outputs, 1, stride), norm(outputs))
        )
        self.activation = activation_module(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, inputs, *space)`` to ``(batch, outputs, *space')``."""
        outputs: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return outputs


class BasicBlock(ResidualSum):
    """Two convolutions and a shortcut ([He2016] fig. 5 left).

    Args:
        convolution: Makes the convolutions, the shortcut's included.
        norm: Makes the normalization of a number of channels.
        inputs: Channels of the input.
        outputs: Channels of the output.
        kernel_size: Side of the kernels, odd.
        stride: Stride of the first convolution on each axis.
        activation: The activation.
    """

    def __init__(
        self,
        convolution: Convolution,
        norm: Callable[[int], nn.Module],
        inputs: int,
        outputs: int,
        kernel_size: int,
        stride: tuple[int, ...],
        activation: Activation,
    ) -> None:
        residual = nn.Sequential(
            convolution(inputs, outputs, kernel_size, stride),
            norm(outputs),
            activation_module(activation),
            convolution(outputs, outputs, kernel_size, (1,) * len(stride)),
            norm(outputs),
        )
        super().__init__(residual, convolution, norm, inputs, outputs, stride, activation)
