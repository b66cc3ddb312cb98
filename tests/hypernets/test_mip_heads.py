"""Output heads: sizes, spreads and shapes of what they predict."""

from __future__ import annotations

import pytest
import torch

from hypertune.errors import ConfigError, FamilyError
from hypertune.hypernets._mip_heads import WEIGHT_HEADS, Target
from hypertune.hypernets._mip_size import choose_head, default_hidden

TARGETS = {
    "conv": Target((6, 4, 3, 3), 0.1),
    "scale": Target((6,), 0.0),
    "dense": Target((12, 30), 0.2),
    "complex": Target((5, 4, 2), 0.3),
    "number": Target((), 0.0),
}
FEATURES, RANK = 7, 2


def _head(name: str, *, residual: bool = True, targets=TARGETS, features: int = FEATURES):
    torch.manual_seed(0)
    return WEIGHT_HEADS[name](targets, features, rank=RANK, power=None if residual else 1.0)


@pytest.mark.parametrize("name", WEIGHT_HEADS)
@pytest.mark.parametrize("residual", [True, False])
def test_every_weight_of_every_point(name, residual):
    head = _head(name, residual=residual)
    made = head(torch.randn(3, FEATURES))
    assert {key: tuple(value.shape) for key, value in made.items()} == {k: (3, *t.shape) for k, t in TARGETS.items()}
    alone = head(torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(5))[1:2])
    together = head(torch.randn(3, FEATURES, generator=torch.Generator().manual_seed(5)))
    for key in TARGETS:
        torch.testing.assert_close(alone[key][0], together[key][1])


@pytest.mark.parametrize("name", WEIGHT_HEADS)
def test_the_announced_size_is_the_size(name):
    assert WEIGHT_HEADS[name].count(TARGETS, FEATURES, RANK) == sum(w.numel() for w in _head(name).parameters())


@pytest.mark.parametrize("name", WEIGHT_HEADS)
def test_all_parameters_get_a_gradient(name):
    head = _head(name)
    made = head(torch.randn(4, FEATURES))
    torch.stack([(value * torch.randn_like(value)).sum() for value in made.values()]).sum().backward()
    for key, weight in head.named_parameters():
        assert weight.grad is not None, key
        assert (weight.grad != 0).any(), key


def test_low_rank_changes_have_low_rank():
    head = _head("low_rank")
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_()
        made = head(torch.randn(4, FEATURES))
    assert torch.linalg.matrix_rank(made["dense"].double(), rtol=1e-5).tolist() == [RANK] * 4
    assert torch.linalg.matrix_rank(made["conv"].flatten(2).double(), rtol=1e-5).tolist() == [RANK] * 4


@pytest.mark.parametrize("name", ["full", "low_rank", "chunked"])
def test_predicted_weights_start_with_the_plain_networks_spread(name):
    targets = {"dense": Target((200, 100), 0.05)}
    head = _head(name, residual=False, targets=targets, features=128)
    features = torch.randn(64, 128)
    spread = float(head(features)["dense"].detach().std())
    assert 0.4 * 0.05 < spread < 2.5 * 0.05


@pytest.mark.parametrize("name", WEIGHT_HEADS)
def test_residuals_start_small(name):
    targets = {"dense": Target((200, 100), 0.05)}
    head = _head(name, targets=targets, features=128)
    spread = float(head(torch.randn(64, 128))["dense"].detach().std())
    assert 0.02 * 0.05 < spread < 0.25 * 0.05


def test_choice_by_size():
    sizes = {name: kind.count(TARGETS, FEATURES, RANK) for name, kind in WEIGHT_HEADS.items()}

    def choose(head: str, room: int, gates: int = 50) -> str:
        return choose_head(head, TARGETS, lambda: gates, features=FEATURES, rank=RANK, room=room)

    assert choose("auto", 10**6) == "full"
    assert choose("auto", sizes["low_rank"]) == "low_rank"
    assert choose("auto", 50) == "gated"
    assert choose("full", sizes["full"]) == "full"
    with pytest.raises(ConfigError) as caught:
        choose("full", sizes["low_rank"])
    message = str(caught.value)
    assert f"full: {sizes['full']:,} parameters" in message
    assert "low_rank" in message.split("Fix: ")[1]
    assert "gated" in message.split("Fix: ")[1]
    assert "full" not in message.split("Fix: ")[1]
    with pytest.raises(ConfigError, match=r"no head .* raise max_parameters to hold 50"):
        choose("auto", 49)
    with pytest.raises(ConfigError, match="did you mean 'low_rank'"):
        choose("low_rnk", 49)
    with pytest.raises(ConfigError, match=r"hypernetwork\.rank"):
        choose_head("auto", TARGETS, lambda: 1, features=FEATURES, rank=0, room=10)


def test_fewer_features_where_a_full_head_needs_it():
    def full(last: int) -> int:
        return 11 * 16 + 17 * last + WEIGHT_HEADS["full"].count(TARGETS, last, 1)

    assert default_hidden("auto", TARGETS, 10, full(128)) == (16, 128)
    assert default_hidden("auto", TARGETS, 10, full(128) - 1) == (16, 64)
    assert default_hidden("full", TARGETS, 10, full(16)) == (16, 16)
    assert default_hidden("auto", TARGETS, 10, full(16) - 1) == (16, 128)
    assert default_hidden("gated", TARGETS, 10, full(16)) == (16, 128)


def test_a_model_that_cannot_be_gated():
    def gates() -> int:
        raise FamilyError("no layer of the model can respond to hyperparameters")

    assert choose_head("auto", TARGETS, gates, features=FEATURES, rank=RANK, room=10**6) == "full"
    with pytest.raises(ConfigError, match="no head"):
        choose_head("auto", TARGETS, gates, features=FEATURES, rank=RANK, room=1)
    with pytest.raises(FamilyError):
        choose_head("gated", TARGETS, gates, features=FEATURES, rank=RANK, room=10**6)
