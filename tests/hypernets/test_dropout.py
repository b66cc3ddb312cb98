"""Dropout with a rate of its own for each example: rates and moments by counting, in every layout."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.hypernets.context import Context
from hypertune.hypernets.dropout import TunedDropout, is_dropout

RATES = torch.tensor([0.0, 0.1, 0.5, 0.9])
ELEMENTWISE: list[type[nn.Module]] = [nn.Dropout, nn.AlphaDropout]
CHANNELWISE: list[tuple[type[nn.Module], tuple[int, ...]]] = [
    (nn.Dropout1d, (3,)),
    (nn.Dropout2d, (3, 2)),
    (nn.Dropout3d, (3, 2, 2)),
    (nn.FeatureAlphaDropout, (3, 2)),
]


def tuned(layer: nn.Module, batch_axes: dict[str, Any] | None = None) -> tuple[TunedDropout, Context]:
    context = Context(batch_axes)
    return TunedDropout(layer, context, name="rate", path="drop"), context


def _within(share: Tensor, rate: float, draws: int) -> bool:
    """Whether a share of dropped entries is within 4.5 standard errors of the rate."""
    return abs(float(share) - rate) <= 4.5 * math.sqrt(rate * (1 - rate) / draws)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_example_has_its_rate_and_kept_entries_are_scaled(dtype: torch.dtype) -> None:
    layer, context = tuned(nn.Dropout(0.3))
    x = torch.ones(4, 20_000, dtype=dtype)
    with context.using(values={"rate": RATES}):
        made = layer(x)
    assert made.dtype == dtype
    for row, rate in zip(made, RATES.tolist(), strict=True):
        dropped = row == 0
        assert _within(dropped.double().mean(), rate, len(row))
        expected = torch.tensor(1 / (1 - rate)).to(dtype)
        assert torch.equal(row[~dropped], expected.expand(int((~dropped).sum())))


@pytest.mark.parametrize(("kind", "space"), CHANNELWISE)
def test_channels_are_dropped_whole(kind: type[nn.Module], space: tuple[int, ...]) -> None:
    layer, context = tuned(kind())
    x = torch.randn(4, 5_000, *space)
    with context.using(values={"rate": RATES}):
        made = layer(x).flatten(2)
    # Within a kept channel the map is affine in x; a dropped one is constant.
    spread = made.std(dim=2)
    dropped = spread < 1e-6
    for row, rate in zip(dropped, RATES.tolist(), strict=True):
        assert _within(row.double().mean(), rate, len(row))
    scale = spread / x.flatten(2).std(dim=2)
    for row, mask in zip(scale, dropped, strict=True):
        torch.testing.assert_close(row[~mask], row[~mask][:1].expand(int((~mask).sum())), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(kind: type[nn.Module]) -> None:
    layer, context = tuned(kind())
    x = torch.randn(4, 40_000, 1, dtype=torch.float64)
    with context.using(values={"rate": RATES}):
        made = layer(x)
    for row in made:
        assert abs(float(row.mean())) < 0.05
        assert abs(float(row.var()) - 1) < 0.1
    torch.testing.assert_close(made[0], x[0])


@pytest.mark.parametrize("kind", [nn.Dropout, nn.AlphaDropout])
def test_a_shared_rate_gives_what_torch_gives_on_average(kind: type[nn.Module]) -> None:
    """Same set of values as torch's own layer for one rate, whatever the draws."""
    layer, context = tuned(kind())
    x = torch.full((1, 5_000), 0.7, dtype=torch.float64)
    with context.using(values={"rate": torch.tensor([0.25])}):
        made = layer(x).unique()
    wanted: Tensor = kind(0.25)(x).unique()
    torch.testing.assert_close(made, wanted)


def test_off_in_evaluation_mode_and_without_values() -> None:
    layer, context = tuned(nn.Dropout(0.5))
    x = torch.randn(4, 6)
    with context.using(torch.zeros(4, 1)):
        assert layer(x) is x
    layer.eval()
    with context.using(values={"rate": RATES}):
        assert layer(x) is x


def test_rates_outside_their_range_stay_finite() -> None:
    layer, context = tuned(nn.Dropout())
    x = torch.randn(3, 1_000, requires_grad=True)
    with context.using(values={"rate": torch.tensor([1.0, 1.5, -0.5])}):
        made = layer(x)
    made.sum().backward()
    assert torch.isfinite(made).all()
    assert torch.equal(made[2], x[2])


def test_seeds_decide_the_draws() -> None:
    layer, context = tuned(nn.Dropout())
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        with context.using(values={"rate": RATES}):
            draws.append(layer(torch.ones(4, 50)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize(
    ("axes", "shape", "rows"),
    [
        pytest.param({"drop": 1}, (2_000, 4), [0, 1, 2, 3], id="second axis"),
        pytest.param({"dr*": "merged"}, (8, 2_000), [0, 0, 1, 1, 2, 2, 3, 3], id="merged"),
    ],
)
def test_the_batch_may_be_declared_elsewhere(axes: dict[str, Any], shape: Sequence[int], rows: list[int]) -> None:
    layer, context = tuned(nn.Dropout(), axes)
    with context.using(values={"rate": RATES}):
        made = layer(torch.ones(*shape))
    for column, number in zip(made.T if axes.get("drop") == 1 else made, rows, strict=True):
        assert _within((column == 0).double().mean(), float(RATES[number]), len(column))


def test_a_batch_elsewhere_is_refused_with_the_way_out() -> None:
    layer, context = tuned(nn.Dropout())
    with context.using(values={"rate": RATES}), pytest.raises(FamilyError, match=r"batch_axes=\{drop: 1\}"):
        layer(torch.ones(7, 4))


@pytest.mark.parametrize(("kind", "shape"), [(nn.Dropout1d, (500, 3)), (nn.Dropout3d, (500, 3, 2, 2))])
def test_inputs_without_a_batch(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    layer, context = tuned(kind())
    with context.using(values={"rate": torch.tensor([0.5])}):
        made = layer(torch.ones(shape)).flatten(1)
    assert torch.equal(made, made[:, :1].expand_as(made))
    assert 0 < int((made[:, 0] == 0).sum()) < 500


@pytest.mark.parametrize("kind", [*ELEMENTWISE, *(kind for kind, _ in CHANNELWISE)])
def test_the_plain_layer_comes_back_with_the_rate(kind: type[nn.Module]) -> None:
    given = kind(0.3)
    layer, _ = tuned(given)
    assert is_dropout(given)
    assert not is_dropout(layer)
    restored = layer.restored(0.42)
    assert type(restored) is kind
    assert restored.p == 0.42
    assert given.p == 0.3
    assert 0 < layer.restored(1.0).p < 1  # type: ignore[operator]
    assert list(layer.state_dict()) == []


def test_gradients_and_forward_mode_see_one_draw() -> None:
    layer, context = tuned(nn.AlphaDropout())
    x, direction = torch.randn(4, 50, dtype=torch.float64), torch.randn(4, 50, dtype=torch.float64)

    def call(inputs: Tensor) -> Tensor:
        torch.manual_seed(3)
        with context.using(values={"rate": RATES}):
            outputs: Tensor = layer(inputs)
        return outputs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _, slope = torch.func.jvp(call, (x,), (direction,))
    torch.testing.assert_close(slope, call(x + direction) - call(x))


def test_copies_of_a_model_share_one_context() -> None:
    context = Context()
    model = nn.Sequential(*(TunedDropout(nn.Dropout(), context, name="rate", path=str(i)) for i in range(2)))
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert made[0]._context[0] is made[1]._context[0]
        assert made[0]._context[0] is not context
