from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from hypertune import registry
from hypertune.effects import catalogue
from hypertune.effects.catalogue import effect_of, effects, hyperparameters, register_effect
from hypertune.effects.contract import Effect, Hyperparameter, Values
from hypertune.errors import ConfigError

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def _only_what_ships(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogue, "_registered", {})
    monkeypatch.setattr(catalogue, "_found", {})
    yield
    monkeypatch.undo()


class Dim(Effect):
    """Offered by the entry point below."""

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {"dim": Hyperparameter("factor", high=1.0)}

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        return x * (1 - values["dim"]).reshape(-1, *(1,) * (x.dim() - 1))


SHIPPED = {
    *("shift", "rotate", "scale", "elastic", "brightness", "contrast", "time_mask", "frequency_mask", "erase"),
    *("erase_holes", "input_noise", "label_smoothing", "mixup"),
}


def test_what_ships_is_found_by_file() -> None:
    assert set(effects()) == set(hyperparameters()) == SHIPPED
    assert effect_of("shift") is effect_of("rotate") is effect_of("scale")
    assert type(effect_of("erase_holes")).__name__ == "Erase"
    assert hyperparameters()["rotate"].high == 180


def test_a_class_registers_as_a_decorator_and_an_instance_by_a_call(augment: Make) -> None:
    made = register_effect(Dim)
    assert isinstance(made, Dim)
    assert effect_of("dim") is made
    assert torch.equal(augment(dim=0.25)(torch.ones(2, 3)), torch.full((2, 3), 0.75))
    other = Dim()
    assert register_effect(other) is other  # again, as in a notebook
    assert effect_of("dim") is other
    assert set(effects()) == SHIPPED | {"dim"}


def test_a_name_that_is_taken_is_refused_and_nothing_registered() -> None:
    class Two(Effect):
        hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
            "mine": Hyperparameter("own"),
            "mixup": Hyperparameter("taken"),
        }

    with pytest.raises(ConfigError, match="Mixup has it") as caught:
        register_effect(Two)
    assert caught.value.where == "effects.mixup"
    assert set(effects()) == SHIPPED


def test_a_shipped_effect_is_not_replaced_by_one_of_its_name() -> None:
    namesake = type("Mixup", (Effect,), {"hyperparameters": {"mixup": Hyperparameter("mine")}})
    with pytest.raises(ConfigError, match="another effect"):
        register_effect(namesake)
    register_effect(Dim)
    rival = type("Rival", (Effect,), {"hyperparameters": {"dim": Hyperparameter("mine")}})
    with pytest.raises(ConfigError, match="Dim has it"):
        register_effect(rival)


@pytest.mark.parametrize(
    "candidate", [3, object, lambda x: x, Effect, Effect(), type("Empty", (Effect,), {"hyperparameters": {}})]
)
def test_what_is_no_effect_is_refused(candidate: Any) -> None:
    with pytest.raises(ConfigError, match="not an effect"):
        register_effect(candidate)


def test_unknown_names_are_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'brightness'"):
        effect_of("brigthness")


def _offer(monkeypatch: pytest.MonkeyPatch, **attributes: str) -> None:
    points = [
        EntryPoint(name, f"effects_of_others:{attribute}", "hypertune.effects")
        for name, attribute in attributes.items()
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "hypertune.effects" else [])


@pytest.fixture
def _module(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("effects_of_others")
    module.Dim, module.rival, module.number = (
        Dim,
        type("R", (Effect,), {"hyperparameters": {"erase": Hyperparameter("x")}}),
        3,
    )  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "effects_of_others", module)


@pytest.mark.usefixtures("_module")
def test_entry_points_offer_effects(monkeypatch: pytest.MonkeyPatch, augment: Make) -> None:
    _offer(monkeypatch, theirs="Dim")
    assert set(effects()) == SHIPPED | {"dim"}
    assert torch.equal(augment(dim=1.0)(torch.ones(2, 3)), torch.zeros(2, 3))


@pytest.mark.usefixtures("_module")
@pytest.mark.parametrize(("attribute", "message"), [("rival", "another effect"), ("number", "not an effect")])
def test_an_entry_point_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, attribute: str, message: str
) -> None:
    _offer(monkeypatch, theirs=attribute)
    with pytest.raises(ConfigError, match=message):
        effects()
