"""The residual networks of the literature, ResNet18, 20 and 50, whose convolutions may be of any kind.

References:
    [He2016] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385.
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hypertune.families._activations import Activation, activation_module
from hypertune.families._residual import BasicBlock, Convolution, ResidualSum, batch_norm, plain_convolution, strides
from hypertune.records import TaskSpec

__all__ = ["RESNETS", "ResNet"]

_EXPANSION = 4  # of a bottleneck block: its output has four times the channels of its kernels

_LAYOUTS: dict[str, tuple[tuple[int, ...], bool]] = {  # blocks of each stage, whether they are bottlenecks
    "resnet18": ((2, 2, 2, 2), False),
    "resnet20": ((3, 3, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
}

RESNETS = tuple(_LAYOUTS)
"""Names of the networks."""


class ResNet(nn.Module):
    """A ResNet for small images, as in [Grassucci2022]: plain 3 x 3 stem, stages, average over space, plain head.

    Stage s has ``width * 2**s`` channels, four times as many between bottleneck blocks. The first block of each further
    stage halves every axis that has at least four cells by stride. With ``width`` 64 (16 for ``resnet20``) on 32 x 32
    it is the network of the paper, except that the stem is plain and the convolutions before a normalization have no
    bias. Dropout acts once, before the head.

    Args:
        name: One of `RESNETS`.
        task: Shape of the problem; ``input_shape`` is ``(channels, *space)`` with one to three spatial axes.
        convolution: Makes the convolutions of the stages, shortcuts included.
        width: Channels of the first stage.
        dropout: Probability to drop a feature before the head.
        activation: The activation.
    """

    def __init__(
        self,
        name: str,
        task: TaskSpec,
        convolution: Convolution,
        *,
        width: int,
        dropout: float,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        channels, *space = task.input_shape
        norm, stem = batch_norm(len(space)), plain_convolution(len(space))
        ones = (1,) * len(space)
        self.stem = nn.Sequential(stem(channels, width, 3, ones), norm(width), activation_module(activation))
        layout, bottlenecks = _LAYOUTS[name]
        block = _Bottleneck if bottlenecks else BasicBlock
        stages, channels = [], width
        for stage, blocks in enumerate(layout):
            inner = width * 2**stage
            outputs = inner * _EXPANSION if bottlenecks else inner
            stride = strides(space) if stage else ones
            space = [-(-size // step) for size, step in zip(space, stride, strict=True)]
            made = []
            for number in range(blocks):
                made.append(block(convolution, norm, channels, inner, 3, ones if number else stride, activation))
                channels = outputs
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        features = self.stages(self.stem(x)).flatten(2).mean(dim=2)
        outputs: Tensor = self.head(self.dropout(features))
        return outputs


class _Bottleneck(ResidualSum):
    """A convolution over space between two over channels, at a quarter of the channels ([He2016] fig. 5 right)."""

    def __init__(
        self,
        convolution: Convolution,
        norm: Callable[[int], nn.Module],
        inputs: int,
        inner: int,
        kernel_size: int,
        stride: tuple[int, ...],
        activation: Activation,
    ) -> None:
        outputs, ones = inner * _EXPANSION, (1,) * len(stride)
        residual = nn.Sequential(
            convolution(inputs, inner, 1, ones),
            norm(inner),
            activation_module(activation),
            convolution(inner, inner, kernel_size, stride),
            norm(inner),
            activation_module(activation),
            convolution(inner, outputs, 1, ones),
            norm(outputs),
        )
        super().__init__(residual, convolution, norm, inputs, outputs, stride, activation)
