"""The model linearised in the displacement, against ``torch.func.jvp`` of the responding model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypertune.auxiliary_loss import AuxiliaryLoss
from hypertune.families._phm import PHMLinear
from hypertune.hypernets.attach import attach
from hypertune.hypernets.layers.normalization import _NormalizedSlope
from hypertune.space import SearchSpace

NAMES = ("a", "b", "activation_penalty")
SPACE = SearchSpace.from_mapping(
    {name: {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True} for name in NAMES}
)
START = dict.fromkeys(NAMES, 0.5)


class Branches(nn.Module):
    """Convolution whose input carries no derivative, then every kind of layer behind one that does."""

    def __init__(self, norm):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = norm
        self.second = nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.group = nn.GroupNorm(2, 4)
        self.hyper = PHMLinear(2, 4, 4)
        self.layer_norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)
        self.spread = AuxiliaryLoss(0.7)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = torch.tanh(self.group(self.up(self.second(x)))).mean(dim=(2, 3))
        x = self.layer_norm(torch.sigmoid(self.hyper(x)))
        self.spread(x.square().mean(dim=1))
        return self.head(x)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.rnn = nn.GRU(4, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.rnn(self.embedding(x))[0][:, -1])


def _batch_norm():
    return nn.BatchNorm2d(4)


def _untracked():
    return nn.BatchNorm2d(4, track_running_stats=False)


def _frozen():
    norm = nn.BatchNorm2d(4)
    norm.running_mean.uniform_()
    norm.train = lambda mode=True: norm  # as one freezes the statistics of a pretrained network
    norm.training = False
    return norm


MODELS = {
    "batch norm": lambda: Branches(_batch_norm()),
    "untracked batch norm": lambda: Branches(_untracked()),
    "frozen batch norm": lambda: Branches(_frozen()),
    "instance norm": lambda: Branches(nn.InstanceNorm2d(4, affine=True)),
    "no norm": lambda: Branches(nn.Identity()),
    "words": Words,
}


def _prepared(name, rank):
    torch.manual_seed(0)
    bind = {n: {"activation_penalty": "head"} for n in ("a", "b")}
    model = attach(MODELS[name](), SPACE, START, bind=bind, rank=rank).double().train()
    for weight in model.response_parameters():
        nn.init.normal_(weight, std=0.3)
    x = torch.randint(7, (5, 6)) if name == "words" else torch.randn(5, 2, 6, 6, dtype=torch.float64)
    for weight in model.general_parameters():
        weight.requires_grad_(False)
    return model, x


def _reference(model, x, perturbation, values):
    def call(displacement):
        outputs, added, penalized = model.outputs_and_penalized(x, displacement, values)
        return (outputs, added, *penalized)

    at, slope = torch.func.jvp(call, (torch.zeros_like(perturbation),), (perturbation,))
    outputs, added, *penalized = (value + along for value, along in zip(at, slope, strict=True))
    return outputs, added, penalized


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_torchs_own_rules(name, rows, rank):
    model, x = _prepared(name, rank)
    perturbation = torch.randn(rows, 3, dtype=torch.float64)
    values = {each: torch.rand(rows, dtype=torch.float64) for each in NAMES}
    weights = list(model.response_parameters())
    found = []
    for run in (model.linearized_outputs_and_penalized, lambda *args: _reference(model, *args)):
        outputs, added, penalized = run(x, perturbation, values)
        loss = outputs.sin().sum() + added.sum() + sum(p.square().sum() for p in penalized)
        found.append((outputs, added, torch.autograd.grad(loss, weights, allow_unused=True)))
    ours, reference = found
    torch.testing.assert_close(ours[0], reference[0])
    torch.testing.assert_close(ours[1].expand(5), reference[1].expand(5))
    for mine, theirs in zip(ours[2], reference[2], strict=True):
        if mine is None:  # torch's graph holds what is multiplied by 0
            assert theirs is None or theirs.abs().max() < 1e-12
        else:
            torch.testing.assert_close(mine, theirs)
    assert sum(gradient is not None and bool(gradient.any()) for gradient in ours[2]) > len(weights) // 2


def test_no_graph_of_the_values_is_kept():
    model, x = _prepared("batch norm", 0)
    values = {each: torch.rand(5, dtype=torch.float64) for each in NAMES}
    kept = {}
    for name, run in (("ours", model.linearized_outputs_and_penalized), ("torch", lambda *a: _reference(model, *a))):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            run(x, torch.randn(5, 3, dtype=torch.float64), values)
        kept[name] = sum(sizes)
    assert kept["ours"] < 0.6 * kept["torch"]


def test_running_statistics_follow_the_values_at_zero():
    model, x = _prepared("batch norm", 0)
    values = {each: torch.rand(5, dtype=torch.float64) for each in NAMES}
    norm = model.model.norm.plain
    model.linearized_outputs_and_penalized(x, torch.randn(5, 3, dtype=torch.float64), values)
    ours = norm.running_mean.clone(), norm.running_var.clone(), int(norm.num_batches_tracked)
    norm.reset_running_stats()
    norm.double()
    model.outputs_and_penalized(x, None, values)
    torch.testing.assert_close(ours[:2], (norm.running_mean, norm.running_var))
    assert ours[2] == int(norm.num_batches_tracked) == 1


def test_the_derivative_of_batch_normalization():
    torch.manual_seed(0)
    x, along = torch.randn(4, 3, 5, dtype=torch.float64), torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    weight, eps = torch.rand(3, dtype=torch.float64) + 0.5, 1e-5
    _, mean, inverse = torch.native_batch_norm(x, weight, None, None, None, True, 0.0, eps)

    def slope(direction):
        return _NormalizedSlope.apply(direction, x, weight, mean, inverse, eps)

    def normalized(inputs):
        return nn.functional.batch_norm(inputs, None, None, weight, None, True, 0.0, eps)

    torch.testing.assert_close(slope(along), torch.func.jvp(normalized, (x,), (along.detach(),))[1])
    assert torch.autograd.gradcheck(slope, (along,))
