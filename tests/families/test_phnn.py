import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families.phnn import FAMILY, PHConv2d, PHMLinear
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.tasks.digits import digits

DIGITS = TaskSpec("digits", "classification", (1, 8, 8), 10)
WINE = TaskSpec("wine", "classification", (13,), 3)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("shape", [(13,), (2, 20), (1, 8, 8), (3, 7, 5), (1, 6, 5, 4), (3, 1, 1)])
def test_every_layout_of_inputs(shape):
    model = FAMILY.build({"width": 8, "n": 4, "depth": 3}, TaskSpec("t", "regression", shape, 2))
    assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_stages_double_the_channels_and_halve_the_image_while_it_lasts():
    model = FAMILY.build({"width": 8, "n": 2, "depth": 4}, DIGITS)
    shapes, x = [], model.stem(torch.randn(2, 1, 8, 8))
    for stage in model.stages:
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 8, 8), (16, 4, 4), (32, 2, 2), (64, 2, 2)]


def test_each_axis_is_halved_for_itself():
    model = FAMILY.build({"width": 4, "n": 2, "depth": 3}, TaskSpec("t", "classification", (1, 3, 16), 2))
    assert tuple(model.stages(model.stem(torch.randn(2, 1, 3, 16))).shape[2:]) == (3, 4)


def test_hidden_layers_are_hypercomplex_and_stem_and_head_are_plain():
    images, table = FAMILY.build({}, DIGITS), FAMILY.build({"depth": 3}, WINE)
    assert sum(isinstance(module, PHConv2d) for module in images.modules()) == 5
    assert [type(module) for module in images.modules() if isinstance(module, nn.Conv2d)] == [nn.Conv2d]
    assert sum(isinstance(module, PHMLinear) for module in table.modules()) == 3
    assert sum(isinstance(module, nn.Linear) for module in table.modules()) == 2


def test_n_shrinks_the_hidden_layers_by_its_inverse():
    real, quarter = (FAMILY.build({"n": n, "width": 32, "depth": 3}, WINE) for n in (1, 4))
    weights = 3 * 32 * 32
    assert count(real) - count(quarter) == (3 * 1 + weights) - (3 * 4**3 + weights // 4)


def test_dropout_acts_on_training_only():
    model = FAMILY.build({"dropout": 0.5}, DIGITS)
    x = torch.randn(4, 1, 8, 8)
    model.eval()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.5]


def test_activation_is_used():
    kinds = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
    for name, kind in kinds.items():
        model = FAMILY.build({"activation": name}, DIGITS)
        assert sum(isinstance(module, kind) for module in model.modules()) == 5


ALGEBRAS = {"learned": 4, "real": 1, "complex": 2, "quaternion": 4, "dihedron": 4}


@pytest.mark.parametrize(("algebra", "n"), ALGEBRAS.items())
@pytest.mark.parametrize("spec", [DIGITS, WINE], ids=lambda spec: spec.name)
def test_the_algebra_brings_its_dimension_and_reaches_every_layer(algebra, n, spec):
    for params in ({"algebra": algebra}, {"algebra": algebra, "n": n}):
        model = FAMILY.build(params, spec)
        layers = [module for module in model.modules() if isinstance(module, PHConv2d | PHMLinear)]
        assert layers
        assert {(layer.algebra, layer.n) for layer in layers} == {(algebra, n)}


@pytest.mark.parametrize(("algebra", "n"), [("real", 4), ("complex", 4), ("quaternion", 2), ("dihedron", 1)])
def test_another_dimension_than_the_algebras_is_one_clear_error(algebra, n):
    with pytest.raises(FamilyError, match=rf"family\.n: the {algebra} algebra has dimension {ALGEBRAS[algebra]}"):
        FAMILY.build({"algebra": algebra, "n": n}, DIGITS)


@pytest.mark.parametrize("point", SearchSpace.load("phnn_deep").sample(6, seed=0))
def test_the_deep_space_builds_all_over(point):
    model = FAMILY.build(point, DIGITS)
    outputs = model(torch.randn(2, 1, 8, 8))
    assert outputs.shape == (2, 10)
    assert outputs.isfinite().all()


def test_learns_the_digits():
    task = digits()
    model = FAMILY.build({"n": 4, "width": 16, "depth": 2}, task.spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(8):
        model.train()
        for batch in torch.randperm(len(task.train)).split(120):
            optimizer.zero_grad()
            task.loss(model(task.train.x[batch]), task.train.y[batch]).mean().backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = task.metrics["accuracy"](model(task.test.x), task.test.y)
    assert accuracy > 0.95


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"n": 3}, "family.n"),
        ({"n": 0}, "family.n"),
        ({"width": 16.0}, "family.width"),
        ({"depth": True}, "family.depth"),
        ({"dropout": 1.0}, "family.dropout"),
        ({"dropout": "high"}, "family.dropout"),
        ({"activation": "rleu"}, "family.activation"),
        ({"activation": 3}, "family.activation"),
        ({"algebra": "octonion"}, "family.algebra"),
        ({"algebra": 4}, "family.algebra"),
        ({"algebra": "quaternion", "width": 6}, "family.n"),
        ({"architecture": "resnet19"}, "family.architecture"),
    ],
)
def test_wrong_values_are_named(params, where):
    with pytest.raises(FamilyError) as caught:
        FAMILY.build(params, DIGITS)
    assert caught.value.where == where


def test_n_names_the_nearest_widths():
    with pytest.raises(FamilyError, match=r"n = 3 does not divide width = 16.*15 or 18"):
        FAMILY.build({"n": 3}, DIGITS)


def test_a_near_activation_is_suggested():
    with pytest.raises(FamilyError, match="did you mean 'relu'"):
        FAMILY.build({"activation": "rleu"}, DIGITS)


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4, 5), (3, 0, 4)])
def test_shapes_without_a_network(shape):
    with pytest.raises(FamilyError, match="no network for this input shape"):
        FAMILY.build({}, TaskSpec("t", "regression", shape, 1))
