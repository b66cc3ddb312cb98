"""CNN: a small plain residual network; the yardstick for images, and the real twin of ``phnn``.

References:
    [He2016] He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385.
"""

from __future__ import annotations

from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._activations import ACTIVATIONS, MIX_DOC, read_activation
from hypertune.families._residual import ResidualNetwork, plain_convolution
from hypertune.families._shapes import check_input
from hypertune.families._values import read_fraction, read_size
from hypertune.families.contract import Family
from hypertune.records import Params, TaskSpec

__all__ = ["FAMILY"]


def _build(params: Params, task: TaskSpec) -> nn.Module:
    kernel_size = read_size(params, "kernel_size", 3)
    if kernel_size % 2 == 0:
        raise FamilyError(
            "an even kernel has no centre",
            where="family.kernel_size",
            given=kernel_size,
            expected="an odd number of cells",
            fix=f"use {kernel_size - 1} or {kernel_size + 1}",
        )
    width = read_size(params, "width", 16)
    depth = read_size(params, "depth", 2)
    dropout = read_fraction(params, "dropout", 0.0)
    activation = read_activation(params, "relu")
    check_input(task, "cnn", flat=False)
    return ResidualNetwork(
        task,
        plain_convolution(len(task.input_shape) - 1),
        width=width,
        depth=depth,
        dropout=dropout,
        kernel_size=kernel_size,
        activation=activation,
    )


FAMILY = Family(
    name="cnn",
    build=_build,
    hyperparameters={
        "width": "channels of the first stage, doubled at each further one",
        "depth": "residual stages of two convolutions each",
        "dropout": "probability to drop a feature before the head",
        "kernel_size": "side of the kernels in cells, odd",
        "activation": f"activation function: {', '.join(ACTIVATIONS)}",
        "activation_mix": MIX_DOC,
    },
    default_space="cnn",
    reference="He, Zhang, Ren, Sun, arXiv 1512.03385",
)
