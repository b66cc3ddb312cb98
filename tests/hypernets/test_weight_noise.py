"""Weight noise against explicitly drawn weights: mean, variance per output, and each example's own strength."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from hypertune.errors import SpaceError
from hypertune.hypernets.context import Context
from hypertune.hypernets.layers._choose import response_layer
from hypertune.hypernets.weight_noise import add_weight_noise

STRENGTHS = torch.tensor([0.0, 0.2, 1.0])
DRAWS = 4_000


def noisy(layer: nn.Module, *, responds: bool) -> tuple[nn.Module, Context]:
    context = Context()
    inner = response_layer(layer, context, size=2, rank=0, path="0") if responds else layer
    assert inner is not None
    model = nn.Sequential(inner)
    add_weight_noise(model, context, name="noise", paths=["0"])
    return model, context


def _explicit(layer: nn.Module, x: Tensor, sigma: float) -> Tensor:
    """Draw noisy weights: ``(draws, *outputs)`` for one example."""
    weight: Tensor = layer.weight  # type: ignore[assignment]

    def call(drawn: Tensor) -> Tensor:
        outputs: Tensor = torch.func.functional_call(layer, {"weight": drawn}, (x[None],))[0]
        return outputs

    with torch.no_grad():
        return torch.func.vmap(call)(weight * (1 + sigma * torch.randn(DRAWS, *weight.shape)))


@pytest.mark.parametrize("responds", [False, True])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(4, 3), (4,)),
        (nn.Conv1d(4, 4, 3, padding=1, groups=2, padding_mode="circular"), (4, 5)),
        (nn.Conv2d(2, 3, 2, stride=2, bias=False), (2, 4, 4)),
    ],
    ids=["linear", "conv1d", "conv2d"],
)
def test_outputs_vary_as_with_drawn_weights(layer: nn.Module, shape: tuple[int, ...], responds: bool) -> None:
    plain = copy.deepcopy(layer)
    model, context = noisy(layer, responds=responds)
    x = torch.randn(3, *shape)
    # Copies of an example are examples with draws of their own.
    strengths = STRENGTHS.repeat_interleave(DRAWS)
    with torch.no_grad(), context.using(values={"noise": strengths}):
        made = model(x.repeat_interleave(DRAWS, dim=0)).unflatten(0, (3, DRAWS))
    for number, sigma in enumerate(STRENGTHS.tolist()):
        drawn = _explicit(plain, x[number], sigma)
        deviation = drawn.std(dim=0)
        # 4,000 draws: a mean is known to 1.6% of the deviation, a deviation to 1.1% of itself; two of each are compared.
        assert bool(((made[number].mean(0) - drawn.mean(0)).abs() <= 5 * 0.0224 * deviation + 1e-5).all())
        torch.testing.assert_close(made[number].std(dim=0), deviation, rtol=5 * 0.0158, atol=1e-5)


def test_off_in_evaluation_mode_and_without_values() -> None:
    layer = nn.Linear(4, 3)
    plain = copy.deepcopy(layer)
    model, context = noisy(layer, responds=True)
    x = torch.randn(3, 4)
    assert torch.equal(model(x), plain(x))
    model.eval()
    with context.using(values={"noise": STRENGTHS}):
        assert torch.equal(model(x), plain(x))


def test_gradients_are_finite_where_inputs_are_zero() -> None:
    model, context = noisy(nn.Conv2d(1, 2, 3), responds=True)
    x = torch.zeros(3, 1, 5, 5, requires_grad=True)
    with context.using(torch.randn(3, 2), {"noise": STRENGTHS}):
        model(x).square().sum().backward()
    gradients = [x.grad, *(weight.grad for weight in model.parameters())]
    assert all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_the_weights_learn_through_the_noise() -> None:
    """The variance's own gradient: with noise the gradient of E y^2 is that of y^2 + sigma^2 x^2 w^2."""
    layer = nn.Linear(1, 1, bias=False).double()
    model, context = noisy(layer, responds=False)
    x = torch.full((DRAWS, 1), 2.0, dtype=torch.float64)
    with context.using(values={"noise": torch.tensor([0.5])}):
        model(x).square().mean().backward()
    weight = float(layer.weight.detach())
    assert layer.weight.grad is not None
    wanted = 2 * weight * 4 * (1 + 0.5**2)
    assert abs(float(layer.weight.grad) - wanted) < 0.1 * abs(wanted)


def test_autocast() -> None:
    model, context = noisy(nn.Linear(4, 3), responds=True)
    with torch.autocast("cpu", torch.bfloat16), context.using(torch.randn(3, 2), {"noise": STRENGTHS}):
        made = model(torch.randn(3, 4) * 100)
    assert made.dtype == torch.bfloat16
    assert torch.isfinite(made).all()


def test_layers_that_cannot_be_noisy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(SpaceError, match=r"space\.noise\.self_tune.*noisy weights"):
        add_weight_noise(model, Context(), name="noise", paths=["1"])
    add_weight_noise(model, Context(), name="noise", paths=["0", "1"])
    assert len(model[0]._forward_hooks) == 1
    assert len(model[1]._forward_hooks) == 0


def test_copies_share_one_context() -> None:
    model, context = noisy(nn.Linear(4, 3), responds=True)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        (hook,) = made[0]._forward_hooks.values()
        assert hook.context is made[0].context
        assert hook.context is not context
