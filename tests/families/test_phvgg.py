"""The named VGGs: sizes of the literature, shapes, and the network of the paper at its own size."""

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._vgg import VGGS
from hypertune.families.phnn import FAMILY, PHConv2d, PHMLinear
from hypertune.records import TaskSpec

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
CIFAR = TaskSpec("cifar", "classification", (3, 32, 32), 10)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


# Channels of each convolution at width 64: columns A and D of table 1 in Simonyan and Zisserman.
CHANNELS = {
    "vgg11": [64, 128, 256, 256, 512, 512, 512, 512],
    "vgg16": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
}


@pytest.mark.parametrize("name", VGGS)
def test_the_real_network_has_the_parameters_of_the_literature(name):
    with torch.device("meta"):
        model = FAMILY.build({"architecture": name, "width": 64, "algebra": "real"}, CIFAR)
    expected, inputs = 0, 3
    for channels in CHANNELS[name]:
        expected += inputs * channels * 9 + 2 * channels  # without bias, with normalization
        inputs = channels
    expected += 2 * (512 * 512 + 512) + 512 * 10 + 10
    assert count(model) == expected
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | PHConv2d | nn.Linear | PHMLinear)]
    assert f"vgg{len(layers)}" == name  # layers with weights, as the name counts them


@pytest.mark.parametrize("name", VGGS)
def test_n_divides_the_parameters(name):
    with torch.device("meta"):
        real, quarter = (FAMILY.build({"architecture": name, "width": 64, "n": n}, CIFAR) for n in (1, 4))
    layers = sum(isinstance(module, PHConv2d | PHMLinear) for module in quarter.modules())
    assert layers == len(CHANNELS[name]) - 1 + 2
    assert count(quarter) < 0.26 * count(real)


@pytest.mark.parametrize("name", VGGS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 4, 9), (2, 20), (1, 4, 6, 5)])
def test_every_layout_trains(name, shape):
    task = TaskSpec("t", "classification", shape, 3)
    model = FAMILY.build({"architecture": name, "width": 4, "n": 4, "dropout": 0.1}, task)
    outputs = model(torch.randn(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def stage_shapes(size):
    model = FAMILY.build({"architecture": "vgg11", "width": 4}, TaskSpec("t", "regression", (1, size, size), 1))
    x, shapes = torch.randn(2, 1, size, size), []
    for stage in model.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    return shapes


def test_stages_halve_the_image_while_two_cells_remain():
    assert stage_shapes(32) == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2), (32, 2, 2)]
    assert stage_shapes(28) == [(4, 14, 14), (8, 7, 7), (16, 3, 3), (32, 3, 3), (32, 3, 3)]
    assert stage_shapes(8) == [(4, 4, 4), (8, 2, 2), (16, 2, 2), (32, 2, 2), (32, 2, 2)]


def test_at_32_cells_the_last_pooling_is_the_papers():
    """Five poolings take 32 x 32 to one cell there; the fifth is the pooling over what space remains."""
    model = FAMILY.build({"architecture": "vgg11", "width": 4}, CIFAR).eval()
    x = torch.randn(2, 3, 32, 32)
    features = nn.functional.max_pool2d(model.stages(x), 2).flatten(1)
    assert torch.equal(model.head(model.hidden(features)), model(x))


def test_activation_and_dropout_are_used():
    model = FAMILY.build({"architecture": "vgg11", "width": 4, "activation": "silu", "dropout": 0.5}, DIGITS)
    assert sum(isinstance(module, nn.SiLU) for module in model.modules()) == 8 + 2
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("name", VGGS)
def test_what_it_cannot_take_is_refused_when_building(name):
    for shape in ((1, 3, 8), (1, 8, 1), (2, 3)):
        with pytest.raises(FamilyError, match=rf"family\.architecture: {name} is for larger inputs"):
            FAMILY.build({"architecture": name}, TaskSpec("t", "classification", shape, 2))
    with pytest.raises(FamilyError, match="needs channels and space"):
        FAMILY.build({"architecture": name}, TaskSpec("t", "classification", (13,), 2))
    with pytest.raises(FamilyError, match=r"family\.depth"):
        FAMILY.build({"architecture": name, "depth": 3}, DIGITS)
