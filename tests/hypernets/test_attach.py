from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError, SpaceError
from hypertune.families._phc import PHConv2d
from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.layers.contract import ResponseLayer
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.9},
        "weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "log": True},
    }
)
START = {"dropout": 0.25, "weight_decay": 1e-3}
DECAY = SearchSpace.from_mapping({"weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "log": True}})


class Everything(nn.Module):
    """Convolution, batch normalization, a hypercomplex convolution, dropout, LSTM, and modules with unlucky names."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.phc = PHConv2d(2, 4, 8, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.lstm = nn.LSTM(8, 6, batch_first=True)
        self.plain = nn.Linear(6, 5)
        self.response = nn.ModuleDict({"plain": nn.Linear(5, 5), "gate": nn.LayerNorm(5)})
        self.scale = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.phc(torch.relu(self.norm(self.convolution(x))))
        made = self.drop(made).mean(dim=3).transpose(1, 2)
        made = torch.tanh(self.plain(self.lstm(made)[0][:, -1]))
        made = self.response["gate"](self.response["plain"](made))
        outputs: Tensor = self.scale * self.head(made)
        return outputs


TREATED = ("convolution", "norm", "phc", "lstm", "plain", "response.plain", "response.gate", "head")


def _attached(model: nn.Module, space: SearchSpace = SPACE, **options: Any) -> ResponseModel:
    """Attach, with gates away from 0."""
    made = attach(model, space, {name: START[name] for name in space.names}, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.response_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def _inputs() -> Tensor:
    return torch.randn(4, 2, 5, 5)


def test_at_no_displacement_it_computes_what_the_model_computes() -> None:
    model = Everything()
    before = copy.deepcopy(model.state_dict())
    made = _attached(model)
    x = _inputs()
    # Dropout is off when no values act, in training as well.
    made.train()
    model.train()
    model.drop.eval()
    torch.testing.assert_close(made(x), model(x))
    torch.testing.assert_close(made(x, torch.zeros(4, 2)), model(x), rtol=1e-5, atol=1e-5)
    assert set(made.treated) == set(TREATED)
    assert made.untreated == {"": "no best response is known for Everything"}
    assert type(model.convolution) is nn.Conv2d
    for name, tensor in model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("rank", [0, 1])
def test_the_detached_model_is_the_responding_one_at_that_displacement(rank: int) -> None:
    made = _attached(Everything(), rank=rank)
    made(_inputs(), torch.randn(4, 2), {"dropout": torch.full((4,), 0.3), "weight_decay": torch.ones(4)})
    made.eval()
    x, d = _inputs(), torch.tensor([0.7, -0.4])
    plain = made.detach_response(d)
    assert isinstance(plain, Everything)
    assert not any(isinstance(module, ResponseLayer) for module in plain.modules())
    assert plain.drop.p == pytest.approx(0.25)
    torch.testing.assert_close(plain(x), made(x, d.expand(4, -1)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain(x), made(x, d[None]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(x), made(x), rtol=1e-2, atol=1e-2)
    state = made.plain_state_dict(d)
    assert list(state) == list(Everything().state_dict())
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, state[name])
    other = Everything().eval()
    other.load_state_dict(state)
    torch.testing.assert_close(other(x), plain(x))


def test_a_plain_state_is_loaded_as_the_weights_at_no_displacement() -> None:
    source = Everything().eval()
    made = _attached(Everything()).eval()
    gates = [parameter.clone() for parameter in made.response_parameters()]
    made.load_plain_state_dict(source.state_dict())
    x = _inputs()
    torch.testing.assert_close(made(x), source(x))
    for before, after in zip(gates, made.response_parameters(), strict=True):
        assert torch.equal(before, after)
    for name, tensor in made.plain_state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_states_of_other_models_are_refused() -> None:
    made = _attached(Everything())
    state = Everything().state_dict()
    state["surplus"] = torch.zeros(1)
    with pytest.raises(FamilyError, match=r"model\.surplus[\s\S]*unexpected"):
        made.load_plain_state_dict(state)
    state = Everything().state_dict()
    del state["head.bias"]
    with pytest.raises(FamilyError, match=r"model\.head\.bias[\s\S]*missing"):
        made.load_plain_state_dict(state)
    state = {**Everything().state_dict(), "head.bias": torch.zeros(9)}
    with pytest.raises(FamilyError, match=r"another model[\s\S]*size mismatch"):
        made.load_plain_state_dict(state)


def test_absorbing_a_displacement_moves_the_plain_weights_there() -> None:
    made = _attached(Everything()).eval()
    x, d = _inputs(), torch.tensor([0.2, 0.1])
    wanted = made(x, d[None])
    made.absorb(d)
    torch.testing.assert_close(made(x), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_one_context_of_its_own(clone: Callable[[ResponseModel], ResponseModel]) -> None:
    space = SearchSpace.from_mapping(
        {
            "dropout": {"type": "float", "low": 0.0, "high": 0.9},
            "weight_noise": {"type": "float", "low": 0.0, "high": 0.5},
            "activation_penalty": {"type": "float", "low": 0.0, "high": 1.0},
        }
    )
    made = attach(Everything(), space, {"dropout": 0.1, "weight_noise": 0.1, "activation_penalty": 0.1})
    twin = clone(made)
    assert twin.context is not made.context
    contexts = {
        id(module.context) if isinstance(module, ResponseLayer) else id(module._context[0])
        for module in twin.model.modules()
        if isinstance(module, ResponseLayer) or hasattr(module, "_context")
    }
    hooks = {id(hook.context) for module in twin.modules() for hook in module._forward_hooks.values()}
    assert contexts == hooks == {id(twin.context)}
    values = {name: torch.full((4,), 0.3) for name in space.names}
    results = []
    for model in (made, twin):
        torch.manual_seed(3)
        x = torch.linspace(-1, 1, 200).reshape(4, 2, 5, 5)
        outputs, penalty = model.outputs_and_penalties(x, torch.full((4, 3), 0.2), values)
        assert penalty is not None
        results.append((outputs, penalty))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    plain = twin.detach_response()
    assert not any(module._forward_hooks for module in plain.modules())


def test_layers_are_selected_by_type_pattern_and_path() -> None:
    made = attach(Everything(), SPACE, START, include=[nn.Conv2d, "response.*", "head"], exclude=[nn.LayerNorm])
    assert set(made.treated) == {"convolution", "response.plain", "head"}
    assert made.untreated == {
        "": "not included",
        "norm": "not included",
        "phc": "not included",
        "lstm": "not included",
        "plain": "not included",
        "response.gate": "excluded",
    }
    made = attach(Everything(), SPACE, START, exclude=["response*"])
    assert set(made.treated) == set(TREATED) - {"response.plain", "response.gate"}


class _Shared(nn.Module):
    """A layer used twice, a container used twice, and two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3))
        self.again = self.first
        self.blocks = nn.ModuleList([self.block, self.block])
        self.tied = nn.Linear(4, 4)
        self.other = nn.Linear(4, 4)
        self.other.weight = self.tied.weight

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = torch.tanh(block(self.again(self.first(x))))
        made: Tensor = self.other(self.tied(x))
        return made


def test_modules_used_twice_respond_as_one_and_tied_parameters_stay_plain() -> None:
    model = _Shared()
    made = _attached(model).eval()
    assert set(made.treated) == {"first", "block.0"}
    assert set(made.untreated) == {"tied", "other"}
    assert set(made.untreated.values()) == {"shares a parameter with another module"}
    inner = made.model
    assert isinstance(inner, nn.Module)
    assert inner.first is inner.again
    assert inner.blocks[0] is inner.blocks[1] is inner.block  # type: ignore[index]
    assert type(inner.block[0].plain) is nn.Linear  # type: ignore[index, union-attr]
    x, d = torch.randn(5, 4), torch.tensor([0.3, -0.2])
    torch.testing.assert_close(made(x), model.eval()(x))
    plain = made.detach_response(d)
    torch.testing.assert_close(plain(x), made(x, d.expand(5, -1)), rtol=1e-5, atol=1e-6)
    assert plain.first is plain.again
    assert plain.other.weight is plain.tied.weight
    assert plain.blocks[0] is plain.block  # type: ignore[index]
    # Every weight is counted and trained once.
    weights = list(made.general_parameters())
    assert len({id(weight) for weight in weights}) == len(weights)
    total = sum(float(weight.detach().square().sum()) for weight in model.parameters())
    assert float(made.squared_norm(None).detach()) == pytest.approx(total, rel=1e-5)


def test_frozen_layers_stay_plain() -> None:
    model = Everything()
    model.convolution.requires_grad_(False)
    made = attach(model, SPACE, START)
    assert made.untreated["convolution"] == "frozen"
    assert not any(weight is made.model.convolution.weight for weight in made.general_parameters())
    trained = sum(float(w.detach().square().sum()) for w in model.parameters() if w.requires_grad)
    assert float(made.squared_norm(None).detach()) == pytest.approx(trained, rel=1e-5)


def test_a_model_that_is_one_layer() -> None:
    model = nn.Linear(3, 2)
    made = _attached(model, DECAY)
    assert made.treated == ("",)
    x, d = torch.randn(4, 3), torch.tensor([0.6])
    plain = made.detach_response(d)
    assert type(plain) is nn.Linear
    torch.testing.assert_close(plain(x), made(x, d.expand(4, -1)))
    assert list(made.plain_state_dict(d)) == ["weight", "bias"]
    other = _attached(nn.Linear(3, 2), DECAY)
    other.load_plain_state_dict(plain.state_dict())
    torch.testing.assert_close(other(x), plain(x))
    _, penalty = made.outputs_and_penalties(x, d[None], {"weight_decay": torch.tensor([0.1])})
    assert penalty is not None
    norm = sum(float(weight.detach().square().sum()) for weight in plain.parameters())
    assert float(penalty.detach()) == pytest.approx(0.05 * norm, rel=1e-5)


def test_decay_counts_each_examples_weights_in_the_bound_modules() -> None:
    made = _attached(Everything(), DECAY, bind={"weight_decay": {"weight_decay": ["head", "lstm"]}})
    d = torch.randn(4, 1)
    strengths = torch.tensor([0.0, 0.1, 0.2, 0.3])
    _, penalty = made.outputs_and_penalties(_inputs(), d, {"weight_decay": strengths})
    assert penalty is not None
    for strength, displacement, got in zip(strengths, d, penalty, strict=True):
        state = made.plain_state_dict(displacement)
        norm = sum(float(w.detach().square().sum()) for name, w in state.items() if name.startswith(("head", "lstm")))
        assert float(got.detach()) == pytest.approx(0.5 * float(strength) * norm, rel=1e-4, abs=1e-7)


def test_parameters_are_split_into_plain_and_response() -> None:
    made = attach(Everything(), SPACE, START)
    plain = [weight.shape for weight in made.general_parameters()]
    assert sorted(plain) == sorted(weight.shape for weight in Everything().parameters())
    owned = {id(p) for p in (*made.general_parameters(), *made.response_parameters())}
    every = {id(p) for p in made.model.parameters()}
    assert owned == every


def test_nothing_to_treat_is_an_error_with_the_reasons() -> None:
    with pytest.raises(FamilyError, match=r"no layer of the model can respond[\s\S]*0: excluded; 1: excluded"):
        attach(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), DECAY, START, exclude=["*"])
    with pytest.raises(SpaceError, match=r"start\.weight_decay: value is missing"):
        attach(nn.Linear(2, 2), DECAY, {})


def test_only_marked_hyperparameters_are_tuned() -> None:
    space = SearchSpace.from_mapping(
        {
            "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
            "weight_decay": {"type": "float", "low": 1e-5, "high": 1.0, "log": True, "self_tune": True},
        }
    )
    made = attach(nn.Linear(2, 2), space, {"lr": 0.1, "weight_decay": 1e-3})
    assert made.hyperparameters.names == ("weight_decay",)


class _Elsewhere(nn.Module):
    """Sees its batch along axis 1, as (time, batch, features), or merged with time."""

    def __init__(self, merged: bool) -> None:
        super().__init__()
        self.merged = merged
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:  # (batch, time, features)
        if self.merged:
            made: Tensor = self.layer(x.flatten(0, 1))
            return made.reshape(len(x), -1, 2).mean(dim=1)
        made = self.layer(x.transpose(0, 1))
        return made.mean(dim=0)


@pytest.mark.parametrize(("merged", "axis"), [(False, 1), (True, "merged")])
def test_a_batch_elsewhere_is_explained_and_can_be_declared(merged: bool, axis: Any) -> None:
    x, d = torch.randn(4, 6, 3), torch.randn(4, 1)
    undeclared = _attached(_Elsewhere(merged), DECAY)
    with pytest.raises(FamilyError, match=rf"model\.layer: [\s\S]*batch_axes={{layer: {axis}}}"):
        undeclared(x, d)
    made = _attached(_Elsewhere(merged), DECAY, batch_axes={"lay*": axis})
    one_by_one = torch.cat([made.detach_response(di)(xi[None]) for di, xi in zip(d, x, strict=True)])
    torch.testing.assert_close(made(x, d), one_by_one)
    # One draw for the batch needs no batch axis.
    torch.testing.assert_close(undeclared(x, d[:1]), undeclared.detach_response(d[0])(x))


def test_a_weight_that_is_read_past_its_layer_is_refused() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.layer(x) @ self.layer.weight
            return made

    made = attach(Reads(), DECAY, START)
    made(torch.randn(2, 3))
    with pytest.raises(FamilyError, match=r"model\.layer: [\s\S]*'weight' directly[\s\S]*exclude 'layer'"):
        made(torch.randn(2, 3), torch.zeros(2, 1))


def test_attention_keeps_its_own_projections_and_the_rest_responds() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            self.head = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.head(self.block(x).mean(dim=1))
            return made

    made = _attached(Attends(), DECAY)
    assert "block.self_attn.out_proj" in made.untreated
    assert "block.self_attn" in made.untreated
    assert {"block.linear1", "block.norm2", "head"} <= set(made.treated)
    x, d = torch.randn(3, 5, 8), torch.randn(3, 1)
    for training in (True, False):
        made.train(training)
        with torch.no_grad():
            one_by_one = torch.cat([made.detach_response(di)(xi[None]) for di, xi in zip(d, x, strict=True)])
            torch.testing.assert_close(made(x, d), one_by_one, rtol=1e-4, atol=1e-5)
