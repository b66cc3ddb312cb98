"""Which effect reads which hyperparameter: shipped ones by file, others from entry points or registered."""

from __future__ import annotations

import inspect
from types import MappingProxyType
from typing import Any

from hypertune.effects.contract import Effect, Hyperparameter
from hypertune.errors import ConfigError
from hypertune.registry import load, names

__all__ = ["effect_of", "effects", "hyperparameters", "register_effect"]

_registered: dict[str, Effect] = {}


def register_effect(effect: Effect | type[Effect]) -> Effect:
    """Make an effect known by its hyperparameters' names; it may stand above a class as a decorator.

    Raises:
        ConfigError: It is no effect, or another effect reads a hyperparameter of that name.
    """
    made: Any = effect() if inspect.isclass(effect) else effect
    if not isinstance(made, Effect) or not getattr(made, "hyperparameters", None):
        raise ConfigError(
            "not an effect",
            where="effects",
            given=effect,
            expected="an Effect with `hyperparameters`",
            fix="derive from hypertune.effects.contract.Effect",
        )
    for name in made.hyperparameters:
        other = effects().get(name)
        if other is not None and type(other).__qualname__ != type(made).__qualname__:
            raise ConfigError(
                "another effect reads a hyperparameter of this name",
                where=f"effects.{name}",
                given=type(made).__name__,
                fix=f"rename it; {type(other).__name__} has it",
            )
        _registered[name] = made
    return effect if not inspect.isclass(effect) else made


def effects() -> dict[str, Effect]:
    """Return the effect that reads each hyperparameter, by the hyperparameter's name, in the order they act in."""
    return {**_shipped(), **_registered}


def effect_of(name: str) -> Effect:
    """Return the effect that reads a hyperparameter."""
    return effects()[name]


def hyperparameters() -> dict[str, Hyperparameter]:
    """Return what is known of each hyperparameter that some effect reads."""
    return {name: effect.hyperparameters[name] for name, effect in effects().items()}


# Geometry first, so that noise is not blurred and erased squares are not moved into the image; mixing, which is no
# change of a single example, comes last.
_ORDER = ("affine", "elastic", "photometric", "masking", "erase", "input_noise")
_found: dict[str, Effect] = {}


def _shipped() -> MappingProxyType[str, Effect]:
    if not _found:
        known = names("effect")
        for module in (*_ORDER, *(name for name in known if name not in _ORDER)):
            effect: Effect = load("effect", module)
            _found.update(dict.fromkeys(effect.hyperparameters, effect))
    return MappingProxyType(_found)
