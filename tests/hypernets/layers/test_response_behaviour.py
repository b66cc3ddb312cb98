"""How responses behave around their computation: frozen weights, copies, forward mode, low precision."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers._choose import response_layer
from hypertune.hypernets.layers.contract import ResponseLayer


def respond(layer: nn.Module, context: Context, rank: int = 0) -> ResponseLayer:
    made = response_layer(layer, context, size=2, rank=rank, path="layer")
    assert made is not None
    return made


@pytest.mark.parametrize("rank", [0, 2])
def test_a_frozen_weight_does_not_respond_while_its_bias_does(rank: int) -> None:
    context = Context()
    plain = nn.Linear(3, 4)
    plain.weight.requires_grad_(False)
    layer = respond(plain, context, rank)
    with context.using(torch.randn(5, 2)):
        layer(torch.randn(5, 3)).sum().backward()
    moving = {name for name, weight in layer.response.named_parameters() if weight.grad is not None}
    assert moving == {"shift"}


@pytest.mark.parametrize("kind", ["linear", "lstm"])
def test_the_signs_of_further_directions_come_from_the_path_alone(kind: str) -> None:
    plain = nn.Linear(6, 4) if kind == "linear" else nn.LSTM(6, 4)
    state = torch.get_rng_state()
    made = [response_layer(plain, Context(), size=2, rank=3, path=path) for path in ("a", "a", "b")]
    assert torch.equal(torch.get_rng_state(), state)
    directions = [
        next(value for name, value in layer.response.named_parameters() if name.startswith("direction"))
        for layer in made
        if layer is not None
    ]
    weight = next(iter(plain.parameters()))
    assert torch.equal(directions[0], directions[1])
    assert not torch.equal(directions[0], directions[2])
    assert torch.equal(directions[0][0], weight)
    assert torch.equal(directions[0].abs(), weight.abs().expand(3, *weight.shape))
    assert torch.linalg.matrix_rank(directions[0].flatten(1)) == 3


def test_keyword_arguments_reach_the_plain_layer() -> None:
    context = Context()
    layer = respond(nn.ConvTranspose1d(2, 3, 3, stride=2), context)
    lstm = respond(nn.LSTM(2, 3), context)
    x, steps, state = torch.randn(5, 2, 6), torch.randn(4, 5, 2), (torch.randn(1, 5, 3), torch.randn(1, 5, 3))
    for displacement in (None, torch.zeros(1, 2), torch.zeros(5, 2)):
        with context.using(displacement):
            torch.testing.assert_close(layer(x, output_size=[14]), layer.plain(x, output_size=[14]))
            torch.testing.assert_close(lstm(steps, hx=state)[0], lstm.plain(steps, hx=state)[0])


@pytest.mark.parametrize("by", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_layers_of_a_copied_model_share_one_context(by: object) -> None:
    context = Context()
    model = nn.Sequential(*(respond(nn.Linear(2, 2), context) for _ in range(2)))
    made = by(model)  # type: ignore[operator]
    assert made[0].context is made[1].context
    assert made[0].context is not context
    with torch.no_grad():
        made[0].response.gate.fill_(1.0)
    x = torch.randn(3, 2)
    with made[1].context.using(torch.ones(3, 2)):
        assert not torch.allclose(made(x), model(x))
    torch.testing.assert_close(made(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("examples", [1, 6])
def test_forward_mode_updates_running_statistics_once_from_primal_values(examples: int, momentum: float | None) -> None:
    context = Context()
    linear = respond(nn.Linear(3, 4).double(), context)
    norm = respond(nn.BatchNorm1d(4, momentum=momentum).double(), context)
    model = nn.Sequential(linear, norm)
    with torch.no_grad():
        for layer in (linear, norm):
            for parameter in layer.response_parameters():
                parameter.normal_()
    reference = copy.deepcopy(model)
    x, start, direction = torch.randn(6, 3).double(), torch.randn(examples, 2), torch.randn(examples, 2)

    def call(displacement: Tensor) -> Tensor:
        with context.using(displacement):
            outputs: Tensor = model(x)
        return outputs

    value, slope = torch.func.jvp(call, (start,), (direction,))
    with reference[0].context.using(start):
        wanted = reference(x)
    torch.testing.assert_close(value, wanted)
    for mine, other in zip(model.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, other)
    assert model[1].plain.num_batches_tracked == 1
    step = 1e-6
    start, direction = start.double(), direction.double()
    difference = (call(start + step * direction) - call(start - step * direction)) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-5)


def test_a_shared_displacement_of_a_recurrent_layer_linearises_in_single_precision() -> None:
    context = Context()
    layer = respond(nn.LSTM(2, 3, batch_first=True), context)
    with torch.no_grad():
        for parameter in layer.response_parameters():
            parameter.normal_()
    x, direction = torch.randn(5, 4, 2), torch.randn(1, 2)

    def call(displacement: Tensor) -> Tensor:
        with context.using(displacement):
            outputs: Tensor = layer(x.to(displacement.dtype))[0]
        return outputs

    value, slope = torch.func.jvp(call, (torch.zeros(1, 2),), (direction,))
    torch.testing.assert_close(value, layer.plain(x)[0])
    layer.double()
    step = 1e-6 * direction.double()
    torch.testing.assert_close(slope.double(), (call(step) - call(-step)) / 2e-6, rtol=1e-4, atol=1e-5)


def test_a_small_response_survives_bfloat16() -> None:
    """Written as (1 + g) y a gate of 0.003 rounds to nothing; on average over many outputs its effect must be there."""
    context = Context()
    layer = respond(nn.Linear(64, 32, bias=False), context)
    gate = 0.003
    assert 1 + torch.tensor(gate, dtype=torch.bfloat16) == 1
    with torch.no_grad():
        layer.response.gate.fill_(gate)
        x = torch.randn(512, 64)
        with torch.autocast("cpu", torch.bfloat16):
            plain = layer(x)
            with context.using(torch.tensor([[1.0, 0.0]]).expand(512, 2)):
                moved = layer(x)
    assert moved.dtype == torch.bfloat16
    ratio = (moved.float() * plain.float()).sum() / plain.float().square().sum() - 1
    assert 0.5 * gate < float(ratio) < 1.5 * gate
