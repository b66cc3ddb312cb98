from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers._choose import response_layer

Agrees = Callable[..., None]


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_the_plain_one_with_each_examples_weights(agrees: Agrees, rank: int, bias: bool) -> None:
    agrees(nn.Linear(5, 6, bias=bias), rank, torch.randn(4, 5, dtype=torch.float64))


@pytest.mark.parametrize("rank", [0, 2])
def test_a_linear_layer_on_sequences(agrees: Agrees, rank: int) -> None:
    agrees(nn.Linear(5, 6), rank, torch.randn(4, 3, 2, 5, dtype=torch.float64))


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("padding", [None, 1])
def test_an_embedding_responds_column_by_column(agrees: Agrees, rank: int, padding: int | None) -> None:
    torch.manual_seed(1)
    agrees(nn.Embedding(7, 5, padding_idx=padding), rank, torch.randint(0, 7, (4, 3)))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_parameter_does_not_respond(rank: int, frozen: str) -> None:
    layer = nn.Linear(3, 4).double()
    getattr(layer, frozen).requires_grad_(False)
    response = response_layer(layer, Context(), size=2, rank=rank, path="layer")
    assert response is not None
    trained = [p for p in response.response_parameters() if p.requires_grad]
    assert trained
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.3)
    moved = response.responded(torch.tensor([0.5, -0.2], dtype=torch.float64))
    before = getattr(layer, frozen)
    torch.testing.assert_close(moved.get(frozen, before), before, rtol=0, atol=0)
    trainable = "bias" if frozen == "weight" else "weight"
    assert not torch.equal(moved[trainable], getattr(layer, trainable))
    norm = response.squared_norm(torch.tensor([[0.5, -0.2]], dtype=torch.float64))
    torch.testing.assert_close(norm, moved[trainable].square().sum()[None])


def test_two_learned_directions_receive_different_gradients(checked: type) -> None:
    layer = nn.Linear(5, 6).double()
    context = Context()
    response = response_layer(layer, context, size=2, rank=2, path="layer")
    assert response is not None
    with context.using(torch.randn(8, 2, dtype=torch.float64)):
        response(torch.randn(8, 5, dtype=torch.float64)).square().sum().backward()
    gate = response.response.gate
    assert isinstance(gate, nn.Parameter)
    assert gate.grad is not None
    assert not torch.allclose(gate.grad[0], gate.grad[1])
