from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence

from hypertune.errors import FamilyError

CASES: list[dict[str, Any]] = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "batch_first": True},
]


def _flat(made: Any) -> list[torch.Tensor]:
    outputs, state = made
    return [outputs, *(state if isinstance(state, tuple) else (state,))]


def _one_by_one(checked: Any, layer: Any, x: torch.Tensor, state: Any) -> list[torch.Tensor]:
    axis = 0 if layer.batch_first else 1
    parts = []
    for i, displacement in enumerate(checked.displacements):
        mine: Any = None
        if state is not None:
            mine = tuple(s[:, i : i + 1] for s in state) if isinstance(state, tuple) else state[:, i : i + 1]
        parts.append(_flat(functional_call(checked.plain, checked.weights(displacement), (x.narrow(axis, i, 1), mine))))
    return [torch.cat(column, dim=axis if k == 0 else 1) for k, column in enumerate(zip(*parts, strict=True))]


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_recurrent_layer_is_the_plain_one_with_each_examples_weights(
    checked: Any, kind: type[nn.Module], options: dict[str, Any], with_state: bool, rank: int
) -> None:
    layer: Any = kind(3, 4, **options)
    made = checked(layer, rank)
    x = torch.randn((4, 5, 3) if layer.batch_first else (5, 4, 3), dtype=torch.float64, requires_grad=True)
    state: Any = None
    if with_state:
        depth = layer.num_layers * (2 if layer.bidirectional else 1)
        first, second = torch.randn(2, depth, 4, 4, dtype=torch.float64)
        state = (first, second) if kind is nn.LSTM else first
    made.displacements.requires_grad_()
    got = _flat(made(x, state, displacement=made.displacements))
    wanted = _one_by_one(made, layer, x, state)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    leaves = [x, made.displacements, *made.response.parameters()]
    gradients = [
        torch.autograd.grad(sum((part**2).sum() for part in parts), leaves)  # type: ignore[arg-type]
        for parts in (got, wanted)
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)

    # One displacement for all: by the fused kernel, and deployed.
    shared = made.displacements.detach()[:1]
    fused = _flat(made(x, state, displacement=shared))
    for a, b in zip(fused, _flat(made(x, state, displacement=shared.expand(4, -1))), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    plain = _flat(layer(x, state))
    for a, b in zip(_flat(made(x, state, displacement=torch.zeros_like(made.displacements))), plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    deployed: Any = kind(3, 4, **options).double()
    deployed.load_state_dict(made.response.responded(shared[0]))
    for a, b in zip(_flat(deployed(x, state)), fused, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    norms = torch.stack(
        [torch.stack([w.square().sum() for w in made.weights(d).values()]).sum() for d in made.displacements]
    )
    torch.testing.assert_close(made.response.squared_norm(made.displacements), norms, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_gradient_of_a_shared_displacement_reaches_the_gates_through_the_fused_kernel(
    checked: Any, kind: type[nn.Module]
) -> None:
    made = checked(kind(3, 4, batch_first=True))
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    shared = made.displacements[:1].clone().requires_grad_()
    gates = list(made.response.response_parameters())
    gradients = [
        torch.autograd.grad((made(x, displacement=displacement)[0] ** 2).sum(), [shared, *gates])
        for displacement in (shared, shared.expand(4, -1))
    ]
    for a, b in zip(*gradients, strict=True):
        assert float(a.abs().sum()) > 0
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_the_response_linearises(checked: Any, kind: type[nn.Module]) -> None:
    made = checked(kind(3, 4, batch_first=True))
    x = torch.randn(4, 5, 3, dtype=torch.float64)

    def call(displacement: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = made(x, displacement=displacement)[0]
        return outputs

    zero, direction = torch.zeros_like(made.displacements), made.displacements
    _, slope = torch.func.jvp(call, (zero,), (direction,))
    difference = (call(zero + 1e-5 * direction) - call(zero - 1e-5 * direction)) / 2e-5
    torch.testing.assert_close(slope, difference, rtol=1e-6, atol=1e-8)
    gates = list(made.response.response_parameters())
    assert all(float(g.abs().sum()) > 0 for g in torch.autograd.grad(slope.square().sum(), gates))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_autocast_runs(checked: Any, kind: type[nn.Module]) -> None:
    made = checked(kind(3, 4, batch_first=True))
    x = torch.randn(4, 5, 3)
    wanted = made(x.double(), displacement=made.displacements)[0]
    made.response.float()
    with torch.autocast("cpu", torch.bfloat16):
        got = made(x, displacement=made.displacements.float())[0]
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=0.05)


def test_dropout_between_layers_acts_in_training_only(checked: Any) -> None:
    made = checked(nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True))
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    draws = [made(x, displacement=made.displacements)[0] for _ in range(2)]
    assert not torch.equal(*draws)
    made.response.eval()
    torch.testing.assert_close(
        made(x, displacement=made.displacements)[0], _one_by_one(made, made.plain, x, None)[0], rtol=1e-10, atol=1e-10
    )


def test_packed_sequences_and_a_batch_elsewhere_are_refused(checked: Any) -> None:
    made = checked(nn.LSTM(3, 4))
    packed = pack_padded_sequence(torch.randn(5, 4, 3, dtype=torch.float64), torch.tensor([5, 4, 3, 2]))
    with pytest.raises(FamilyError, match=r"packed sequence[\s\S]*padded sequences[\s\S]*exclude 'layer'"):
        made(packed, displacement=made.displacements)
    assert len(made(packed, displacement=made.displacements[:1])) == 2
    with pytest.raises(FamilyError, match=r"batch elsewhere[\s\S]*\(4, 5, 3\)[\s\S]*4 sequences along axis 1"):
        made(torch.randn(4, 5, 3, dtype=torch.float64), displacement=made.displacements)
