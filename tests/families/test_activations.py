from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from hypertune.errors import FamilyError
from hypertune.families import cnn, mlp, phnn, soft_hgnn
from hypertune.families._activations import ACTIVATIONS, MixedActivation, Mixture, activation_module, read_activation
from hypertune.records import TaskSpec

IMAGE = TaskSpec("t", "classification", (1, 8, 8), 3)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_names_are_those_of_torch(name: str) -> None:
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(activation_module(name)(x), getattr(functional, name)(x))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mixture_lies_between_its_two(share: float) -> None:
    x = torch.linspace(-3, 3, 50, dtype=torch.float64)
    mixed = activation_module(Mixture("relu", "hardtanh", share))(x)
    assert torch.allclose(mixed, share * x.clamp_min(0) + (1 - share) * x.clamp(-1, 1), rtol=0, atol=1e-15)


def test_reading() -> None:
    assert read_activation({}, "gelu") == "gelu"
    assert read_activation({"activation": "tanh", "activation_mix": 0.2}, "relu") == "tanh"
    assert read_activation({"activation": "relu+tanh"}, "relu") == Mixture("relu", "tanh", 0.5)
    assert read_activation({"activation": "relu+tanh", "activation_mix": 0.2}, "relu") == Mixture("relu", "tanh", 0.2)


@pytest.mark.parametrize("family", [mlp.FAMILY, cnn.FAMILY, phnn.FAMILY, soft_hgnn.FAMILY], ids=lambda f: f.name)
def test_every_family_takes_mixtures(family) -> None:
    def build(**params) -> torch.nn.Module:
        torch.manual_seed(0)
        return family.build({"width": 16, **params}, IMAGE).eval()

    assert "activation_mix" in family.hyperparameters
    mixed = build(activation="relu+hardtanh", activation_mix=0.25)
    assert any(isinstance(module, MixedActivation) and module.share == 0.25 for module in mixed.modules())
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    # At the ends of its range the mixture is one of the two.
    for share, name in ((1.0, "relu"), (0.0, "hardtanh")):
        end = build(activation="relu+hardtanh", activation_mix=share)
        assert torch.allclose(end(x), build(activation=name)(x), atol=1e-6)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"activation": "rellu"}, "family.activation"),
        ({"activation": "relu+"}, "family.activation"),
        ({"activation": "relu+tanh+gelu"}, "family.activation"),
        ({"activation": 3}, "family.activation"),
        ({"activation": "relu+tanh", "activation_mix": 1.5}, "family.activation_mix"),
        ({"activation": "relu+tanh", "activation_mix": "half"}, "family.activation_mix"),
    ],
)
def test_wrong_activations(params, where: str) -> None:
    with pytest.raises(FamilyError) as caught:
        read_activation(params, "relu")
    assert caught.value.where == where
