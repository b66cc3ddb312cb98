"""One hyperparameter's entry in a search space: YAML form -> Optuna distribution, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hypertune.errors import SpaceError, did_you_mean

__all__ = ["describe", "read_distribution", "read_flag", "round_to_step", "to_entry"]

_COMMON = {"type", "self_tune", "unit", "doc", "when"}
_KEYS = {
    "float": _COMMON | {"low", "high", "log", "step"},
    "int": _COMMON | {"low", "high", "log", "step"},
    "categorical": _COMMON | {"choices"},
}


def read_distribution(entry: Any, where: str) -> BaseDistribution:
    """Read one entry: a mapping with a type, or a plain value that fixes the hyperparameter.

    Raises:
        SpaceError: The entry is wrong; the message starts with ``where``.
    """
    if not isinstance(entry, Mapping):
        return _categorical([entry], where)
    kind = entry.get("type", "categorical" if "choices" in entry else None)
    if kind not in _KEYS:
        raise SpaceError(
            "type is missing" if kind is None else "unknown type",
            where=f"{where}.type",
            **({} if kind is None else {"given": kind}),
            expected="float, int or categorical",
            fix="add `type: float`" if kind is None else did_you_mean(kind, _KEYS),
        )
    for key in entry:
        if key not in _KEYS[kind]:
            raise SpaceError(f"unknown key for type {kind}", where=f"{where}.{key}", fix=did_you_mean(key, _KEYS[kind]))
    if kind == "categorical":
        return _categorical(entry.get("choices"), f"{where}.choices")
    return _numeric(kind, entry, where)


def _numeric(kind: str, entry: Mapping[str, Any], where: str) -> BaseDistribution:
    for key in ("low", "high"):
        if key not in entry:
            raise SpaceError(f"{key} is missing", where=where, given=dict(entry), fix=f"add `{key}: ...`")
    number = _integer if kind == "int" else _number
    low, high = number(entry["low"], f"{where}.low"), number(entry["high"], f"{where}.high")
    log = read_flag(entry.get("log", False), f"{where}.log")
    step = None if entry.get("step") is None else number(entry["step"], f"{where}.step")
    if low > high:
        raise SpaceError("low is above high", where=where, given={"low": low, "high": high}, fix="swap them")
    if log and (low <= 0 or (kind == "int" and low < 1)):
        raise SpaceError(
            "a log scale needs a positive low",
            where=f"{where}.low",
            given=low,
            fix="raise low or drop `log: true`",
        )
    if log and step is not None and not (kind == "int" and step == 1):
        raise SpaceError("step and log exclude each other", where=f"{where}.step", given=step, fix="drop one")
    if step is not None and step <= 0:
        raise SpaceError("step must be positive", where=f"{where}.step", given=step, fix="give a positive step")
    if step is not None and low < high and step > (high - low) * (1 + 1e-9):
        raise SpaceError(
            "step is wider than the range",
            where=f"{where}.step",
            given=step,
            expected=f"at most {high - low:g}",
        )
    if kind == "int":
        step = int(step or 1)
        return IntDistribution(int(low), int(low) + (int(high) - int(low)) // step * step, log=log, step=step)
    if step is not None:
        # Optuna would warn and lower `high` to the last step; do it here, with the same result.
        count = math.floor((high - low) / step + 1e-8)
        high = round_to_step(low, step, count)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _categorical(choices: Any, where: str) -> CategoricalDistribution:
    if not isinstance(choices, list | tuple):
        raise SpaceError("choices must be a list", where=where, given=choices, fix="write `choices: [a, b]`")
    if not choices:
        raise SpaceError("choices are empty", where=where, given=choices, fix="list at least one choice")
    for index, choice in enumerate(choices):
        if choice is not None and not isinstance(choice, bool | int | float | str):
            raise SpaceError(
                "a choice must be plain",
                where=f"{where}.{index}",
                given=choice,
                expected="text, number, true/false, null",
            )
        if isinstance(choice, float) and not math.isfinite(choice):
            raise SpaceError("a choice must be finite", where=f"{where}.{index}", given=choice)
        if any(choice == other for other in choices[:index]):
            raise SpaceError("a choice is given twice", where=f"{where}.{index}", given=choice, fix="remove one")
    return CategoricalDistribution(tuple(choices))


def _number(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SpaceError("not a finite number", where=where, given=value, expected="a number such as 1e-4")
    return number


def _integer(value: Any, where: str) -> int:
    number = _number(value, where)
    if number != int(number):
        raise SpaceError("not a whole number", where=where, given=value, fix="round it or use `type: float`")
    return int(number)


def read_flag(value: Any, where: str) -> bool:
    """Return a yes or no; anything else is a `SpaceError`."""
    if not isinstance(value, bool):
        raise SpaceError("not a yes or no", where=where, given=value, expected="true or false")
    return value


def round_to_step(low: float, step: float, count: int) -> float:
    """Return ``low + count * step`` as a person would write it."""
    # 0.1 + 2 * 0.1 should read 0.3, not 0.30000000000000004.
    return float(np.format_float_positional(low + count * step, precision=12, fractional=False))


def to_entry(distribution: BaseDistribution) -> dict[str, Any]:
    """Return the YAML form of a distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return {"type": "categorical", "choices": list(distribution.choices)}
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    entry: dict[str, Any] = {
        "type": "int" if isinstance(distribution, IntDistribution) else "float",
        "low": distribution.low,
        "high": distribution.high,
    }
    if distribution.log:
        entry["log"] = True
    if distribution.step is not None and not (isinstance(distribution, IntDistribution) and distribution.step == 1):
        entry["step"] = distribution.step
    return entry


def describe(distribution: BaseDistribution) -> str:
    """Return what a distribution accepts, for error messages."""
    if isinstance(distribution, CategoricalDistribution):
        return f"one of {', '.join(map(repr, distribution.choices))}"
    entry = to_entry(distribution)
    text = f"{'a whole number' if entry['type'] == 'int' else 'a number'} from {entry['low']} to {entry['high']}"
    return f"{text} in steps of {entry['step']}" if "step" in entry else text
