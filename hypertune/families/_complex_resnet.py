"""Small complex residual network for classification and regression, in one, two or three dimensions.

References:
    [Trabelsi2018] Trabelsi et al. Deep Complex Networks. ICLR 2018, arXiv 1705.09792.
    [He2016] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385.
"""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.families._complex_heads import ComplexHead
from hypertune.families._complex_layers import LayerSet, ResidualBlock
from hypertune.families._complex_sequence import ComplexSequential
from hypertune.records import TaskSpec

__all__ = ["ComplexResNet"]

_SMALLEST_HALVED = 4  # an axis is halved while at least two cells remain
_GRID = 4


class ComplexResNet(nn.Module):
    """Stem, ``depth`` stages of one basic block each ([He2016] fig. 5 left), a real head.

    Stage s has ``width * 2**s`` channels. Between stages every axis that has at least four cells is halved by stride.
    Before the head features are averaged over a grid of at most 4 cells along each axis.

    Args:
        task: Shape of the problem; ``input_shape`` is ``(channels, *space)`` with one to three spatial axes, complex.
        layers: What the network is made of.
        depth: Number of stages.
        kernel_size: Side of the kernels, odd.
        head: One of `COMPLEX_HEADS`; a real twin needs none.
        dropout: Probability to drop a feature before the head.
    """

    def __init__(
        self, task: TaskSpec, layers: LayerSet, *, depth: int, kernel_size: int, head: str, dropout: float
    ) -> None:
        super().__init__()
        space = task.input_shape[1:]
        channels = layers.width
        self.inputs = layers.inputs()
        self.stem = ComplexSequential(
            layers.convolution(layers.input_channels, channels, kernel_size, (1,) * len(space), 1),
            layers.norm(channels),
            layers.activation(channels),
        )
        stages = []
        for stage in range(depth):
            stride = tuple(2 if stage and size >= _SMALLEST_HALVED else 1 for size in space)
            space = tuple(-(-size // step) for size, step in zip(space, stride, strict=True))
            stages.append(ResidualBlock(layers, channels, layers.width * 2**stage, kernel_size, stride))
            channels = layers.width * 2**stage
        self.stages = nn.Sequential(*stages)
        cells = tuple(min(size, _GRID) for size in space)
        self.head = ComplexHead(
            channels, cells, task.output_size, head=head if layers.is_complex else None, dropout=dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map complex ``(batch, *input_shape)`` to real ``(batch, output_size)``."""
        outputs: Tensor = self.head(self.stages(self.stem(self.inputs(x))))
        return outputs
