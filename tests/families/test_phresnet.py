"""The named ResNets: sizes of the literature, shapes, and the real twin."""

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._residual import plain_convolution
from hypertune.families._resnet import RESNETS, ResNet
from hypertune.families.phnn import FAMILY, PHConv2d
from hypertune.records import TaskSpec

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
CIFAR = TaskSpec("cifar", "classification", (3, 32, 32), 10)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def convolutions(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | PHConv2d)]


# Layers that are counted by the name: convolutions, without shortcuts, and the head.
LAYERS = {"resnet18": 18, "resnet20": 20, "resnet50": 50}
# Of the real networks for CIFAR, from the layer sizes in He et al. with 1 x 1 convolutions as shortcuts.
PARAMETERS = {"resnet18": 11_173_962, "resnet20": 272_474, "resnet50": 23_520_842}


@pytest.mark.parametrize("name", RESNETS)
def test_the_real_network_has_the_layers_and_parameters_of_the_literature(name):
    with torch.device("meta"):
        width = 16 if name == "resnet20" else 64
        model = FAMILY.build({"architecture": name, "width": width, "algebra": "real"}, CIFAR)
    assert count(model) == PARAMETERS[name]
    inside = [path for path, module in model.named_modules() if isinstance(module, nn.Conv2d | PHConv2d)]
    assert sum("shortcut" not in path for path in inside) + 1 == LAYERS[name]


@pytest.mark.parametrize("name", RESNETS)
def test_n_divides_the_parameters(name):
    with torch.device("meta"):
        real, quarter = (FAMILY.build({"architecture": name, "width": 64, "n": n}, CIFAR) for n in (1, 4))
    hypercomplex = [layer for layer in convolutions(quarter) if isinstance(layer, PHConv2d)]
    saved = sum(layer.in_channels * layer.out_channels * layer.kernel_size[0] ** 2 for layer in hypercomplex) * 3 // 4
    assert count(real) - count(quarter) == saved - (64 - 1) * len(hypercomplex)
    assert len(convolutions(quarter)) - len(hypercomplex) == 1  # the stem
    assert count(quarter) < 0.26 * count(real)


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 4, 9), (2, 20), (1, 4, 6, 5)])
def test_every_layout_trains(name, shape):
    task = TaskSpec("t", "classification", shape, 3)
    model = FAMILY.build({"architecture": name, "width": 4, "n": 4, "dropout": 0.1}, task)
    outputs = model(torch.randn(3, *shape))
    assert outputs.shape == (3, 3)
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_stages_halve_the_image_while_it_lasts():
    shapes = {}
    for size in (8, 32):
        model = FAMILY.build({"architecture": "resnet18", "width": 4}, TaskSpec("t", "regression", (1, size, size), 1))
        x, shapes[size] = model.stem(torch.randn(2, 1, size, size)), []
        for stage in model.stages:
            x = stage(x)
            shapes[size].append(tuple(x.shape[1:]))
    assert shapes[32] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4)]
    assert shapes[8] == [(4, 8, 8), (8, 4, 4), (16, 2, 2), (32, 2, 2)]


def test_a_bottleneck_has_four_times_its_inner_channels_and_strides_in_the_middle():
    model = FAMILY.build({"architecture": "resnet50", "width": 4}, DIGITS)
    first, second = model.stages[1][0], model.stages[1][1]
    assert [(c.in_channels, c.out_channels, c.kernel_size, c.stride) for c in convolutions(first)] == [
        (16, 8, (1, 1), (1, 1)),
        (8, 8, (3, 3), (2, 2)),
        (8, 32, (1, 1), (1, 1)),
        (16, 32, (1, 1), (2, 2)),
    ]
    assert isinstance(second.shortcut, nn.Identity)


def test_is_the_real_twin_with_real_algebra():
    """The same network of plain convolutions, with the weights carried over."""
    ours = FAMILY.build({"architecture": "resnet20", "width": 4, "algebra": "real"}, DIGITS).eval()
    twin = ResNet("resnet20", DIGITS, plain_convolution(2), width=4, dropout=0.0).eval()
    state = {
        name.replace(".F", ".weight"): value[0] if name.endswith(".F") else value
        for name, value in ours.state_dict().items()
        if not name.endswith(".A")
    }
    twin.load_state_dict(state)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(ours(x), twin(x))


def test_activation_and_dropout_are_used():
    model = FAMILY.build({"architecture": "resnet18", "width": 4, "activation": "gelu", "dropout": 0.4}, DIGITS)
    assert sum(isinstance(module, nn.GELU) for module in model.modules()) == 17
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.4]


@pytest.mark.parametrize("name", RESNETS)
@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 8, 1), (2, 3), (1, 4, 4, 2)])
def test_too_small_an_input_is_refused_when_building(name, shape):
    with pytest.raises(FamilyError, match=rf"{name} is for larger inputs.*at least 4 cells.*architecture: residual"):
        FAMILY.build({"architecture": name}, TaskSpec("t", "classification", shape, 2))


def test_flat_inputs_and_a_depth_are_refused():
    with pytest.raises(FamilyError, match=r"needs channels and space.*architecture: residual"):
        FAMILY.build({"architecture": "resnet18"}, TaskSpec("t", "classification", (13,), 2))
    with pytest.raises(FamilyError, match=r"family\.depth: the number of layers of resnet18 is fixed.*phnn_deep"):
        FAMILY.build({"architecture": "resnet18", "depth": 2}, DIGITS)
