"""Activation regularization against the mean square of each example's outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.hypernets.activation_penalty import penalize_activations
from hypertune.hypernets.context import Context
from hypertune.hypernets.layers._choose import response_layer

STRENGTHS = torch.tensor([0.0, 0.5, 2.0])


def penalized(layer: nn.Module, axes: dict[str, Any] | None = None) -> tuple[nn.Module, Context]:
    context = Context(axes)
    inner = response_layer(layer, context, size=2, rank=0, path="0")
    model = nn.Sequential(layer if inner is None else inner)
    penalize_activations(model, context, name="alpha", paths=["0"])
    return model, context


def penalties(model: nn.Module, context: Context, x: Any, strengths: Tensor) -> tuple[Any, list[Tensor]]:
    with context.using(values={"alpha": strengths}):
        outputs = model(x)
        return outputs, [rows.square().sum(dim=1) for rows in context.penalized]


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4)])
def test_each_example_pays_its_own_mean_square(shape: tuple[int, ...]) -> None:
    model, context = penalized(nn.Linear(4, 6))
    outputs, (penalty,) = penalties(model, context, torch.randn(shape), STRENGTHS)
    wanted = torch.stack([alpha * (row**2).mean() for alpha, row in zip(STRENGTHS, outputs, strict=True)])
    torch.testing.assert_close(penalty, wanted)
    penalty.sum().backward()
    assert model[0].plain.weight.grad.abs().sum() > 0  # type: ignore[index, union-attr, operator]


def test_a_shared_strength_pays_the_same_mean_loss() -> None:
    model, context = penalized(nn.Linear(4, 6))
    outputs, (penalty,) = penalties(model, context, torch.randn(3, 4), torch.tensor([2.0]))
    assert penalty.shape == (1,)
    torch.testing.assert_close(penalty.mean(), 2 * (outputs**2).mean())


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_batch_of_a_recurrent_layer_is_found(batch_first: bool) -> None:
    model, context = penalized(nn.LSTM(4, 6, batch_first=batch_first))
    x = torch.randn((3, 5, 4) if batch_first else (5, 3, 4))
    (outputs, _), (penalty,) = penalties(model, context, x, STRENGTHS)
    rows = outputs if batch_first else outputs.transpose(0, 1)
    torch.testing.assert_close(penalty, STRENGTHS * (rows**2).mean(dim=(1, 2)))


def test_the_batch_may_be_declared_elsewhere() -> None:
    x = torch.randn(6, 4)
    model, context = penalized(nn.Linear(4, 6), {"0": "merged"})
    outputs, (penalty,) = penalties(model, context, x, STRENGTHS)
    torch.testing.assert_close(penalty, STRENGTHS * (outputs**2).reshape(3, -1).mean(dim=1))
    model, context = penalized(nn.Linear(4, 6))
    with pytest.raises(FamilyError, match=r"batch_axes=\{0: merged\}"):
        penalties(model, context, x, STRENGTHS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_squares_do_not_overflow(dtype: torch.dtype) -> None:
    model, context = penalized(nn.Identity())
    x = torch.full((3, 4), 300.0, dtype=dtype)
    _, (penalty,) = penalties(model, context, x, STRENGTHS)
    torch.testing.assert_close(penalty.float(), STRENGTHS * 9e4, rtol=1e-2, atol=0)


def test_off_in_evaluation_mode_and_without_values() -> None:
    model, context = penalized(nn.Linear(4, 6))
    with context.using(torch.zeros(3, 2)):
        model(torch.randn(3, 4))
        assert context.penalized == []
    model.eval()
    assert penalties(model, context, torch.randn(3, 4), STRENGTHS)[1] == []
