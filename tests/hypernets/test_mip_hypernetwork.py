"""The hypernetwork runs unmodified modules with the weights it predicts, under the hyperparameters of each group."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hypertune.errors import ConfigError, FamilyError, SpaceError
from hypertune.hypernets.mip import MIPHypernetwork, batch_statistics, groups
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.9},
        "weight_decay": {"type": "float", "low": 1e-3, "high": 10.0, "log": True},
        "input_noise": {"type": "categorical", "choices": [0.0, 0.5]},
    }
)
HEADS = ("full", "low_rank", "chunked", "gated")


class Perceptron(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.drop(self.first(x).tanh()))


def _network(head: str = "full", model: nn.Module | None = None, **options) -> MIPHypernetwork:
    torch.manual_seed(0)
    network = MIPHypernetwork(model or Perceptron(), SPACE, head=head, rank=2, hidden=(6, 4), **options)
    with torch.no_grad():  # away from the start, at which gates are 0
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network


def _points(n: int) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(1))


def _by_hand(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    hidden = functional.linear(x, state["first.weight"], state["first.bias"]).tanh()
    return functional.linear(hidden, state["last.weight"], state["last.bias"])


@pytest.mark.parametrize("head", HEADS)
def test_each_group_runs_with_its_points_weights(head):
    network, x, points = _network(head).eval(), torch.randn(7, 5), _points(3)
    outputs, penalties = network(x, points)
    decays = network.values(points)["weight_decay"]
    row = 0
    for size, point, decay in zip(groups(7, 3), points, decays, strict=True):
        state = network.plain_state_dict(point)
        part = slice(row, row + size)
        torch.testing.assert_close(outputs[part], _by_hand(state, x[part]))
        norm = sum(weight.square().sum() for weight in state.values())
        torch.testing.assert_close(penalties[part], (0.5 * decay * norm).expand(size))
        row += size
    assert row == 7


def test_gated_examples_have_points_of_their_own():
    network, x, points = _network("gated").eval(), torch.randn(6, 5), _points(6)
    outputs, penalties = network(x, points)
    for k in range(6):
        alone, penalty = network(x[k : k + 1], points[k : k + 1])
        torch.testing.assert_close(outputs[k : k + 1], alone)
        torch.testing.assert_close(penalties[k : k + 1], penalty)


@pytest.mark.parametrize("head", HEADS)
def test_the_plain_model_takes_the_predicted_weights(head):
    network, x, point = _network(head), torch.randn(4, 5), _points(1)[0]
    plain = Perceptron().eval()
    plain.load_state_dict(network.plain_state_dict(point))
    generated = {name: part[0] for name, part in network.eval().generated(point[None]).items()}
    torch.testing.assert_close(network.run(x, generated), plain(x))
    with torch.no_grad():
        outputs = network.run(x, generated)
    torch.testing.assert_close(outputs, plain(x).detach())


@pytest.mark.parametrize("head", HEADS)
def test_everything_is_trained(head):
    network = _network(head).train()
    outputs, penalties = network(torch.randn(6, 5), _points(3))
    (outputs.square().sum() + penalties.sum()).backward()
    for name, weight in network.named_parameters():
        if name.startswith("_runner.model.hyperparameters"):
            assert not weight.requires_grad
            continue
        assert weight.grad is not None, name
        assert (weight.grad != 0).any(), name


def test_dropout_acts_at_each_groups_rate():
    network, x = _network().train(), torch.randn(8, 5)
    points = _points(2)
    points[0, 0], points[1, 0] = 0.0, 1.0
    outputs, _ = network(x, points)
    state = [network.plain_state_dict(point) for point in points]
    torch.testing.assert_close(outputs[:4], _by_hand(state[0], x[:4]))
    # At rate 0.9 some example has all hidden units dropped: what is left is the bias.
    assert not torch.allclose(outputs[4:], _by_hand(state[1], x[4:]))
    outputs, _ = network.eval()(x, points)
    torch.testing.assert_close(outputs[4:], _by_hand(state[1], x[4:]))


def test_without_residual_the_free_weights_are_fixed_and_unused():
    network, x, points = _network(residual=False).train(), torch.randn(4, 5), _points(2)
    outputs, penalties = network(x, points)
    (outputs.sum() + penalties.sum()).backward()
    plain = list(network.response.model.parameters())
    assert all(weight.grad is None and not weight.requires_grad for weight in plain)
    with torch.no_grad():
        for weight in plain:
            weight.zero_()
    torch.testing.assert_close(network.eval()(x, points)[0], network(x, points)[0])
    assert (network(x, points)[0] != 0).all()


def test_frozen_weights_stay():
    model = Perceptron()
    model.first.weight.requires_grad_(False)
    network = _network(model=model)
    assert "first.weight" not in network.generated(_points(1))
    state = network.plain_state_dict(_points(1)[0])
    own = dict(network.response.model.named_parameters())
    assert torch.equal(state["first.weight"], own["first.weight"])


def test_a_constant_decay_acts_and_is_no_input():
    space = SearchSpace({"dropout": SPACE.distributions["dropout"]})
    torch.manual_seed(0)
    network = MIPHypernetwork(Perceptron(), space, head="full", constants={"weight_decay": 0.3}).eval()
    assert network.names == ("dropout",)
    point = torch.tensor([[0.4]])
    _, penalties = network(torch.randn(2, 5), point)
    norm = sum(weight.square().sum() for weight in network.plain_state_dict(point[0]).values())
    torch.testing.assert_close(penalties, (0.15 * norm).expand(2))


class Normalized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(self.first(x)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization_uses_the_groups_statistics(head, training):
    network = _network(head, Normalized()).train(training)
    x, points = torch.randn(12, 5), _points(3)
    points[:, 0] = 0.0  # no dropout
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    outputs, _ = network(x, points)
    for name, value in network.named_buffers():
        assert torch.equal(value, buffers[name]), name
    for k, point in enumerate(points):
        state = network.plain_state_dict(point)
        hidden = functional.linear(x[4 * k : 4 * k + 4], state["first.weight"], state["first.bias"])
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(outputs[4 * k : 4 * k + 4], hidden * state["norm.weight"] + state["norm.bias"])


def test_batch_statistics_are_over_when_the_block_is():
    norm = nn.BatchNorm1d(3, momentum=0.2).eval()
    with batch_statistics(norm):
        norm(torch.randn(8, 3) + 5)
    assert (norm.training, norm.momentum, int(norm.num_batches_tracked)) == (False, 0.2, 0)
    assert torch.equal(norm.running_mean, torch.zeros(3))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, dtype=torch.complex64))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop((x.to(torch.complex64) @ self.weight.T).abs())


@pytest.mark.parametrize("head", ["full", "low_rank", "chunked"])
def test_complex_weights(head):
    network, x, points = _network(head, Complex()).eval(), torch.randn(4, 5), _points(2)
    outputs, penalties = network(x, points)
    for k, point in enumerate(points):
        weight = network.plain_state_dict(point)["weight"]
        assert weight.dtype == torch.complex64
        torch.testing.assert_close(outputs[2 * k : 2 * k + 2], (x[2 * k : 2 * k + 2].to(weight.dtype) @ weight.T).abs())
        decay = float(network.values(points)["weight_decay"][k])
        norm = float(weight.detach().abs().square().sum())
        assert float(penalties[2 * k].detach()) == pytest.approx(0.5 * decay * norm, rel=1e-4)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 5)
        self.second = nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.drop = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.second(self.first(x)))


def test_tied_weights_stay_tied():
    network, x, point = _network("full", Tied()).eval(), torch.randn(3, 5), _points(1)
    weight = network.generated(point)["first.weight"][0]
    outputs, _ = network(x, point)
    state = network.plain_state_dict(point[0])
    expected = functional.linear(functional.linear(x, weight, state["first.bias"]), weight, state["second.bias"])
    torch.testing.assert_close(outputs, expected)
    plain = Tied().eval()
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x), outputs)


def test_groups_share_a_batch_evenly():
    for examples in range(1, 30):
        for points in range(1, examples + 1):
            sizes = groups(examples, points)
            assert len(sizes) == points
            assert sum(sizes) == examples
            assert max(sizes) - min(sizes) <= 1


def test_the_given_model_is_left_alone():
    model = Perceptron()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = _network(model=model)
    network(torch.randn(4, 5), _points(2))
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert type(model.drop) is nn.Dropout


def test_bad_options():
    with pytest.raises(ConfigError, match=r"too large.*full: .*Fix: use a head that fits: .*gated"):
        _network("full", max_parameters=250)
    with pytest.raises(ConfigError, match="another head"):
        _network("gated", residual=False)
    with pytest.raises(ConfigError, match=r"activation.*leaky_relu"):
        _network(activation="leaky_rel")
    with pytest.raises(ConfigError, match=r"hypernetwork\.normalization"):
        _network(normalization="batch")
    with pytest.raises(ConfigError, match=r"hypernetwork\.hidden"):
        MIPHypernetwork(Perceptron(), SPACE, hidden=())
    with pytest.raises(SpaceError, match=r"space\.width"):
        MIPHypernetwork(Perceptron(), SearchSpace.from_mapping({"width": {"type": "int", "low": 1, "high": 4}}))
    with pytest.raises(FamilyError, match="can respond"):
        _network("gated", Complex())
