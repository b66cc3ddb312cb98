"""Options of a family as the config writes them, and the hyperparameters that they mean.

Almost always the two are the same. A mixture of two activations is one option with two hyperparameters:
``activation: {mix: [relu, hardtanh], alpha: 0.3}`` means ``activation=relu+hardtanh, activation_mix=0.3``, and with
``alpha: tuned`` the share is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypertune.errors import ConfigError, did_you_mean
from hypertune.records import ParamValue

__all__ = ["MIX", "fixed_hyperparameters", "searched_mixtures"]

MIX = "_mix"
"""End of the name of a mixture's share: ``activation_mix`` for ``activation``."""

TUNED = "tuned"


def fixed_hyperparameters(options: Mapping[str, Any]) -> dict[str, ParamValue]:
    """Return the hyperparameters that a family's options fix.

    Raises:
        ConfigError: A mapping is no mixture.
    """
    fixed: dict[str, ParamValue] = {}
    for name, value in options.items():
        if not isinstance(value, Mapping):
            fixed[name] = value
            continue
        names, share = _mixture(name, value)
        fixed[name] = "+".join(names)
        if share is not None:
            fixed[f"{name}{MIX}"] = share
    return fixed


def searched_mixtures(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the shares that are searched, between 0 and 1.

    Raises:
        ConfigError: A mapping is no mixture.
    """
    mappings = {name: value for name, value in options.items() if isinstance(value, Mapping)}
    return tuple(f"{name}{MIX}" for name, value in mappings.items() if _mixture(name, value)[1] is None)


def _mixture(name: str, value: Mapping[str, Any]) -> tuple[list[str], float | None]:
    where, example = f"family.{name}", "{mix: [relu, hardtanh], alpha: tuned}"
    for key in value:
        if key not in ("mix", "alpha"):
            raise ConfigError(
                "a mixture has no such key",
                where=f"{where}.{key}",
                expected=example,
                fix=did_you_mean(str(key), ("mix", "alpha")),
            )
    names = value.get("mix")
    if not isinstance(names, list | tuple) or len(names) != 2 or not all(isinstance(each, str) for each in names):
        raise ConfigError("not two names", where=f"{where}.mix", given=names, expected=example)
    share = value.get("alpha", TUNED)
    if share == TUNED:
        return list(names), None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError(
            "not the share of the first",
            where=f"{where}.alpha",
            given=share,
            expected=f"a number in [0, 1], or {TUNED}",
        )
    return list(names), float(share)
