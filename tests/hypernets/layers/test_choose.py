"""Which layers respond, and which stay plain because a response would be silently wrong."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from hypertune.errors import FamilyError
from hypertune.families.phnn import PHConv1d, PHMLinear
from hypertune.hypernets.context import Context
from hypertune.hypernets.layers import _choose
from hypertune.hypernets.layers._choose import register_response_layer, response_layer
from hypertune.hypernets.layers.contract import ResponseLayer
from hypertune.hypernets.layers.linear import LinearResponse
from hypertune.hypernets.layers.operator import AssembledResponse


def respond(layer: nn.Module, context: Context | None = None) -> ResponseLayer | None:
    return response_layer(layer, context or Context(), size=2, rank=0, path="layer")


@pytest.fixture
def _registry() -> Iterator[None]:
    before = dict(_choose._REGISTERED)
    yield
    _choose._REGISTERED.clear()
    _choose._REGISTERED.update(before)


class Renamed(nn.Linear):
    """Computes what nn.Linear computes."""


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Standardized(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class Adapted(nn.Linear):
    """An extra parameter whose role nobody told."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        self.lora = nn.Parameter(torch.zeros(4, 3))


class DoubledHypercomplex(PHMLinear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def _weight_normed(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(3, 4),
        Renamed(3, 4),
        nn.Conv3d(2, 4, 1),
        nn.ConvTranspose1d(2, 4, 1),
        nn.BatchNorm2d(3),
        nn.InstanceNorm1d(3, affine=True),
        nn.GroupNorm(1, 3),
        nn.LayerNorm(3),
        nn.RMSNorm(3),
        nn.Embedding(5, 3),
        nn.GRU(2, 3),
        PHMLinear(2, 4, 6),
        PHConv1d(2, 4, 6, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_respond(layer: nn.Module) -> None:
    assert isinstance(respond(layer), ResponseLayer)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Doubled(3, 4), id="overrides forward"),
        pytest.param(Standardized(2, 4, 3), id="overrides the convolution inside forward"),
        pytest.param(Adapted(), id="has a parameter more"),
        pytest.param(DoubledHypercomplex(2, 4, 6), id="overrides the forward that its units belong to"),
        pytest.param(parametrizations.weight_norm(nn.Linear(3, 4)), id="parametrized"),
        pytest.param(_weight_normed(nn.Linear(3, 4)), id="weight norm by hook"),
        pytest.param(prune.random_unstructured(nn.Linear(3, 4), "weight", 0.5), id="pruned"),
        pytest.param(nn.Embedding(5, 3, max_norm=1.0), id="renormalized embedding"),
        pytest.param(nn.Embedding(5, 3, sparse=True), id="sparse embedding"),
        pytest.param(nn.LSTM(2, 4, proj_size=3), id="projected LSTM"),
        pytest.param(nn.MultiheadAttention(4, 2), id="attention"),
        pytest.param(nn.MultiheadAttention(4, 2).out_proj, id="attention reads this weight past its forward"),
        pytest.param(nn.BatchNorm2d(3, affine=False), id="nothing to train"),
        pytest.param(nn.PReLU(), id="unknown type"),
    ],
)
def test_layers_that_stay_plain(layer: nn.Module) -> None:
    assert respond(layer) is None


def test_lazy_layers_stay_plain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert respond(nn.LazyLinear(3)) is None


@pytest.mark.usefixtures("_registry")
def test_a_registered_response_wins_and_holds_for_subclasses() -> None:
    class Mine(LinearResponse):
        pass

    register_response_layer(nn.Linear, Mine)
    assert type(respond(nn.Linear(2, 2))) is Mine
    assert type(respond(Doubled(2, 2))) is Mine
    assert type(respond(PHMLinear(1, 2, 2))) is AssembledResponse


def test_code_around_a_layer_reads_its_sizes_but_never_a_weight_that_would_be_wrong() -> None:
    context = Context()
    layer = respond(nn.Linear(3, 4), context)
    assert layer is not None
    assert layer.out_features == 4
    assert layer.weight is layer.plain.weight
    assert not hasattr(layer, "no_such_thing")
    with context.using(torch.zeros(5, 2)), pytest.raises(FamilyError, match=r"model\.layer.*'weight' directly"):
        _ = layer.weight
    with context.using(torch.zeros(5, 2)):
        assert layer.out_features == 4
