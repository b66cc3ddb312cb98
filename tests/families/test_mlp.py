import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families.mlp import FAMILY
from hypertune.records import TaskSpec

WINE = TaskSpec("wine", "classification", (13,), 3)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_depth_and_width_are_what_they_say(depth):
    model = FAMILY.build({"depth": depth, "width": 7}, WINE)
    sizes = [(layer.in_features, layer.out_features) for layer in model.modules() if isinstance(layer, nn.Linear)]
    assert sizes == [(13, 7), *[(7, 7)] * (depth - 1), (7, 3)]


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 8, 8), (1, 2, 3, 4), (1, 2, 2, 2, 2)])
def test_flattens_any_input(shape):
    model = FAMILY.build({}, TaskSpec("t", "regression", shape, 2))
    assert model(torch.randn(3, *shape)).shape == (3, 2)


def test_equals_the_formula():
    model = FAMILY.build({"depth": 2, "width": 5, "activation": "tanh"}, WINE)
    first, second, head = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    x = torch.randn(4, 13)
    hidden = torch.tanh(second(torch.tanh(first(x))))
    torch.testing.assert_close(model(x), hidden @ head.weight.T + head.bias)


def test_both_dropouts_have_their_rate():
    model = FAMILY.build({"depth": 2, "dropout": 0.3, "input_dropout": 0.1}, WINE)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.1, 0.3, 0.3]


@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan"), None, False])
def test_wrong_rates_are_named(name, rate):
    with pytest.raises(FamilyError) as caught:
        FAMILY.build({name: rate}, WINE)
    assert caught.value.where == f"family.{name}"
