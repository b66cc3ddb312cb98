"""Which effect reads which hyperparameter: shipped ones by file, others from entry points or registered."""

from __future__ import annotations

import inspect
from types import MappingProxyType
from typing import Any

from hypertune.effects.contract import Effect, Hyperparameter
from hypertune.errors import ConfigError, did_you_mean
from hypertune.registry import load, names

__all__ = ["effect_of", "effects", "hyperparameters", "register_effect"]

_registered: dict[str, Effect] = {}


def register_effect(effect: Effect | type[Effect]) -> Effect:
    """Make an effect known by its hyperparameters' names; it may stand above a class as a decorator.

    Registering an effect again, as a notebook's cell does that is run twice, replaces it.

    Raises:
        ConfigError: It is no effect, or another effect reads a hyperparameter of that name.
    """
    made = _checked(effect, "effects")
    for name in made.hyperparameters:
        other = effects().get(name)
        if other is not None and (name not in _registered or type(other).__qualname__ != type(made).__qualname__):
            raise _taken(name, made, other)
    _registered.update(dict.fromkeys(made.hyperparameters, made))
    return made


def effects() -> dict[str, Effect]:
    """Return the effect that reads each hyperparameter, by the hyperparameter's name, in the order they act in."""
    return {**_shipped(), **_registered}


def effect_of(name: str) -> Effect:
    """Return the effect that reads a hyperparameter.

    Raises:
        ConfigError: None does.
    """
    known = effects()
    if name not in known:
        raise ConfigError("no effect reads it", where=f"effects.{name}", fix=did_you_mean(name, known))
    return known[name]


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
        found: dict[str, Effect] = {}
        for module in (*_ORDER, *(name for name in known if name not in _ORDER)):
            made = _checked(load("effect", module), f"effects.{module}")
            for name in made.hyperparameters:
                if name in found:
                    raise _taken(name, made, found[name])
                found[name] = made
        _found.update(found)
    return MappingProxyType(_found)


def _checked(effect: Any, where: str) -> Effect:
    made = effect() if inspect.isclass(effect) and issubclass(effect, Effect) else effect
    if isinstance(made, Effect) and getattr(made, "hyperparameters", None):
        return made
    raise ConfigError(
        "not an effect",
        where=where,
        given=effect,
        expected="an Effect with `hyperparameters`",
        fix="derive from hypertune.effects.contract.Effect",
    )


def _taken(name: str, made: Effect, other: Effect) -> ConfigError:
    return ConfigError(
        "another effect reads a hyperparameter of this name",
        where=f"effects.{name}",
        given=type(made).__name__,
        fix=f"rename it; {type(other).__name__} has it",
    )
