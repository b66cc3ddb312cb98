"""The VGG networks of the literature, with 11 and 16 layers, whose layers may be of any kind.

References:
    [Simonyan2015] Simonyan, Zisserman. Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015,
        arXiv 1409.1556, table 1, columns A and D.
    [Grassucci2022] Grassucci, Zhang, Comminiello. PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex
        Convolutions. IEEE TNNLS 2022, arXiv 2110.04176.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from hypertune.families._activations import Activation, activation_module
from hypertune.families._residual import Convolution, batch_norm, plain_convolution, strides
from hypertune.records import TaskSpec

__all__ = ["VGG", "VGGS"]

_LAYOUTS: dict[str, tuple[int, ...]] = {  # convolutions of each stage
    "vgg11": (1, 1, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
}
_LARGEST_STAGE = 3  # the channels double up to the fourth stage

VGGS = tuple(_LAYOUTS)
"""Names of the networks."""

_POOLS: dict[int, type[nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d]] = {
    1: nn.MaxPool1d,
    2: nn.MaxPool2d,
    3: nn.MaxPool3d,
}


class VGG(nn.Module):
    """A VGG with batch normalization for small images, as in [Grassucci2022]: five stages, two hidden layers, a head.

    Stage s has ``width * 2**min(s, 3)`` channels and ends by max-pooling every axis that has at least four cells to
    half. What space remains is max-pooled to one cell, then follow two hidden layers with dropout before each. With
    ``width`` 64 on 32 x 32 it is the network of the paper, except that the first convolution is plain (the input's
    channels are what they are), and that the convolutions have no bias, which the normalization would remove again.

    Args:
        name: One of `VGGS`.
        task: Shape of the problem; ``input_shape`` is ``(channels, *space)`` with one to three spatial axes.
        convolution: Makes the convolutions after the first.
        linear: Makes the hidden layers: ``linear(in_features, out_features)``.
        width: Channels of the first stage.
        dropout: Probability to drop a unit before each hidden layer.
        activation: The activation.
    """

    def __init__(
        self,
        name: str,
        task: TaskSpec,
        convolution: Convolution,
        linear: Callable[[int, int], nn.Module],
        *,
        width: int,
        dropout: float,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        channels, *space = task.input_shape
        norm, pool, first = batch_norm(len(space)), _POOLS[len(space)], plain_convolution(len(space))
        stages = []
        for stage, convolutions in enumerate(_LAYOUTS[name]):
            outputs = width * 2 ** min(stage, _LARGEST_STAGE)
            made: list[nn.Module] = []
            for number in range(convolutions):
                kind = convolution if stage or number else first
                made += [kind(channels, outputs, 3, (1,) * len(space)), norm(outputs), activation_module(activation)]
                channels = outputs
            halves = strides(space)
            if max(halves) > 1:
                made.append(pool(halves))
                space = [size // step for size, step in zip(space, halves, strict=True)]
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        hidden: list[nn.Module] = []
        for _ in range(2):
            hidden += [nn.Dropout(dropout), linear(channels, channels), activation_module(activation)]
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(channels, task.output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, *input_shape)`` to ``(batch, output_size)``."""
        features = self.stages(x).flatten(2).amax(dim=2)
        outputs: Tensor = self.head(self.hidden(features))
        return outputs
