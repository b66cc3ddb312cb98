"""CMuSeNet: complex residual segmentation of a wideband spectrum, bin by bin, and its real twins.

[Shin2025] pass the Fourier transform of the received signal through a complex ResNet with whitening batch normalization
and CReLU, and a complex dense layer with one complex output per bin; its two parts are both trained to say whether the
bin is occupied. Ours keeps all that but the dense layer: it is convolutional from end to end, at full resolution, and
sees wide bands by dilation, so that a band looks the same wherever it lies and the number of parameters does not depend
on the number of bins.

References:
    [Shin2025] Shin, Vuran. I Can't Believe It's Not Real: CV-MuSeNet: Complex-Valued Multi-Signal Segmentation.
        IEEE DySPAN 2025, arXiv 2506.11048.
"""

from __future__ import annotations

from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.families._complex_activations import COMPLEX_ACTIVATIONS
from hypertune.families._complex_convolution import ComplexConv1d
from hypertune.families._complex_dropout import ComplexDropout
from hypertune.families._complex_initialization import COMPLEX_INITIALIZATIONS
from hypertune.families._complex_layers import KINDS, NORMS, LayerSet, ResidualBlock, layer_set
from hypertune.families._complex_sequence import ComplexSequential
from hypertune.families._shapes import check_dtype
from hypertune.families._values import read_choice, read_fraction, read_odd, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY", "SpectrumNetwork"]

_BLOCK_KERNEL = 3


class SpectrumNetwork(nn.Module):
    """Stem, residual blocks whose dilation doubles from one to the next, one output per bin.

    Args:
        layers: What the network is made of.
        depth: Residual blocks; the last sees ``2**(depth + 2) - 4`` bins more than the stem.
        kernel_size: Bins the stem sees, odd.
        dropout: Probability to drop a feature of a bin before the output.
    """

    def __init__(self, layers: LayerSet, *, depth: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        width = layers.width
        self.inputs = layers.inputs()
        self.stem = ComplexSequential(
            layers.convolution(layers.input_channels, width, kernel_size, (1,), 1),
            layers.norm(width),
            layers.activation(width),
        )
        self.blocks = nn.Sequential(
            *(ResidualBlock(layers, width, width, _BLOCK_KERNEL, (1,), 2**block) for block in range(depth))
        )
        self.dropout = ComplexDropout(dropout)
        self.output = ComplexConv1d(width, 1, 1) if layers.is_complex else nn.Conv1d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map complex ``(batch, channels, bins)`` to a logit per bin, ``(batch, bins)``; complex, or real of a twin."""
        features = self.blocks(self.stem(self.inputs(x)))
        outputs: Tensor = self.output(self.dropout(features)).squeeze(1)
        return outputs


def _build(params: Params, task: TaskSpec) -> nn.Module:
    kind = read_choice(params, "kind", "complex", KINDS)
    width = read_size(params, "width", 16)
    depth = read_size(params, "depth", 3)
    kernel_size = read_odd(params, "kernel_size", 7)
    activation = read_choice(params, "activation", "crelu", COMPLEX_ACTIVATIONS)
    norm = read_choice(params, "norm", "batch", NORMS)
    init = read_choice(params, "init", "he", COMPLEX_INITIALIZATIONS)
    dropout = read_fraction(params, "dropout", 0.0)
    check_dtype(task, "cmusenet", "complex64")
    if len(task.input_shape) != 2 or task.kind != "regression" or task.output_size != task.input_shape[1]:
        raise FamilyError(
            "cmusenet labels every bin of a spectrum",
            where="family.cmusenet",
            given=f"a {task.kind} task of inputs {task.input_shape} with {task.output_size} outputs",
            expected="inputs (channels, bins) and one target in [0, 1] per bin",
            fix="use the family complex_cnn",
        )
    layers = layer_set(kind, 1, task.input_shape[0], width=width, activation=activation, norm=norm, init=init)
    return SpectrumNetwork(layers, depth=depth, kernel_size=kernel_size, dropout=dropout)


FAMILY = Family(
    name="cmusenet",
    build=_build,
    hyperparameters={
        "kind": "complex, real (a twin of real layers on the two parts) or real_doubled (with as many parameters)",
        "width": "complex channels",
        "depth": "residual blocks of two convolutions each; their dilation doubles from one to the next",
        "kernel_size": "bins the first convolution sees, odd",
        "activation": f"activation of complex numbers: {', '.join(COMPLEX_ACTIVATIONS)}; real twins have ReLU",
        "norm": "whitening over the batch, or over each example: batch, layer",
        "init": f"initial complex weights: {', '.join(COMPLEX_INITIALIZATIONS)}",
        "dropout": "probability to drop a feature of a bin, both parts together, before the output",
    },
    default_space="cmusenet",
    reference="Shin, Vuran, arXiv 2506.11048",
)
