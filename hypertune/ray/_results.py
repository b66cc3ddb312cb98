"""What a search algorithm reads from the results that Ray hands it.

A trainable reports where tuning inside a trial ended under ``tuned/<name>``: as ``{"tuned/dropout": 0.3}`` or as
``{"tuned": {"dropout": 0.3}}``, which is the same to Ray.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ray.tune.result import AUTO_RESULT_KEYS, DONE, TRAINING_ITERATION, TRIAL_ID

from hypertune.errors import did_you_mean

__all__ = ["TUNED_PREFIX", "flatten", "missing_metric", "read_config", "read_number", "read_step", "read_tuned"]

TUNED_PREFIX = "tuned/"
"""What the reported final value of a self-tuned hyperparameter starts with, before the hyperparameter's name."""

_CONFIG_PREFIX = "config/"


def flatten(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one, names joined by ``/`` as Ray joins them."""
    if not any(isinstance(value, Mapping) for value in mapping.values()):
        return dict(mapping)
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{name}": inner for name, inner in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def read_number(result: Mapping[str, Any], key: str) -> float | None:
    """Return a reported number, NaN and infinities included; None when there is none under that name."""
    try:
        return float(result[key])
    except (KeyError, TypeError, ValueError):
        return None


def read_step(result: Mapping[str, Any]) -> int | None:
    """Return the iteration of a result, from 1; None for a result that is not one trial's, as of a ``Repeater``."""
    step = result.get(TRAINING_ITERATION)
    return None if step is None else int(step)


def read_tuned(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite ``tuned/...`` values by hyperparameter."""
    tuned = {}
    for key in result:
        if key.startswith(TUNED_PREFIX):
            value = read_number(result, key)
            if value is not None and math.isfinite(value):
                tuned[key.removeprefix(TUNED_PREFIX)] = value
    return tuned


def read_config(result: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the hyperparameters that a result says its trial had."""
    return {name: result[_CONFIG_PREFIX + name] for name in names if _CONFIG_PREFIX + name in result}


def missing_metric(metric: str, result: Mapping[str, Any]) -> str:
    """Return what is wrong with a result that has no number under the metric's name."""
    reported = _reported(result)
    fix = did_you_mean(metric, reported) if reported else f'call tune.report({{"{metric}": value}}) in the trainable'
    return f"results have no number {metric!r}: {fix}"


def _reported(result: Mapping[str, Any]) -> Collection[str]:
    automatic = {*AUTO_RESULT_KEYS, DONE, TRIAL_ID, "experiment_tag"}
    return [
        key
        for key in result
        if key not in automatic
        and not key.startswith((_CONFIG_PREFIX, TUNED_PREFIX))
        and read_number(result, key) is not None
    ]
