from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import FamilyError, SpaceError, TaskError
from hypertune.families.contract import Family
from hypertune.records import TaskSpec
from hypertune.space import SearchSpace
from hypertune.training.preflight_self_tuning import check_self_tuning
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings

Make = Callable[..., Any]

SPACE = SearchSpace.from_mapping({"dropout": {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True}})
SETTINGS = TrainingSettings(device="cpu", self_tuning=SelfTuningSettings())


class Odd(nn.Module):
    """A layer that nobody knows how to respond with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize("algorithm", ["stn", "delta_stn"])
def test_what_works_passes_and_leaves_the_random_state(
    make_classes: Make, dropout_family: Family, algorithm: str
) -> None:
    settings = replace(SETTINGS, self_tuning=SelfTuningSettings(algorithm=algorithm, rank=1))
    before = torch.get_rng_state()
    assert check_self_tuning(dropout_family, make_classes(), {"dropout": 0.3}, settings, SPACE) == {}
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_that_stay_plain_are_told_with_the_reason(make_classes: Make) -> None:
    def build(params: Mapping[str, Any], task: TaskSpec) -> nn.Module:
        return nn.Sequential(nn.Flatten(), Odd(), nn.Dropout(params["dropout"]), nn.Linear(36, 3))

    untreated = check_self_tuning(Family("odd", build), make_classes(), {"dropout": 0.3}, SETTINGS, SPACE)
    assert set(untreated) == {"1"}
    assert "Odd" in untreated["1"]


def test_a_device_that_is_not_there_does_not_matter(make_classes: Make, dropout_family: Family) -> None:
    settings = replace(SETTINGS, device="cuda:7", dtype="float16")
    assert check_self_tuning(dropout_family, make_classes(), {"dropout": 0.3}, settings, SPACE) == {}


def test_what_cannot_be_tuned_is_refused(make_classes: Make, dropout_family: Family) -> None:
    def check(family: Family = dropout_family, n: int = 96, space: SearchSpace = SPACE, **params: Any) -> Any:
        return check_self_tuning(family, make_classes(n=n), {"dropout": 0.3, **params}, SETTINGS, space)

    with pytest.raises(TaskError, match="too few"):
        check(n=20)
    lr = SearchSpace.from_mapping({"lr": {"type": "float", "low": 1e-3, "high": 1.0, "self_tune": True}})
    with pytest.raises(SpaceError, match=r"space\.lr\.self_tune"):
        check(space=lr, lr=0.1)
    nothing = Family("none", lambda params, task: nn.Sequential(nn.Flatten(), nn.Dropout(params["dropout"]), Odd()))
    with pytest.raises(FamilyError, match="no layer of the model can respond"):
        check(nothing)

    class Functional(nn.Module):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.rate, self.linear = rate, nn.Linear(36, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(functional.dropout(x.flatten(1), self.rate, self.training))  # type: ignore[no-any-return]

    with pytest.raises(SpaceError, match=r"nn\.Dropout modules in place of functional\.dropout"):
        check(Family("functional", lambda params, task: Functional(params["dropout"])))


def test_a_layer_called_with_the_batch_on_another_axis_is_named(make_classes: Make) -> None:
    class Turned(nn.Module):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.drop, self.inner, self.last = nn.Dropout(rate), nn.Linear(6, 6), nn.Linear(36, 3)

        def forward(self, x: Tensor) -> Tensor:
            turned: Tensor = self.inner(x[:, 0].transpose(0, 1)).transpose(0, 1)
            return self.last(self.drop(turned).flatten(1))  # type: ignore[no-any-return]

    family = Family("turned", lambda params, task: Turned(params["dropout"]))
    with pytest.raises(FamilyError, match=r"model\.inner.*batch_axes"):
        check_self_tuning(family, make_classes(), {"dropout": 0.3}, SETTINGS, SPACE)
    told = replace(SETTINGS, self_tuning=SelfTuningSettings(batch_axes={"inner": 1}))
    assert check_self_tuning(family, make_classes(), {"dropout": 0.3}, told, SPACE) == {}
