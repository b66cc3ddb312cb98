"""Checks of what a search algorithm is given, apart from its space and its points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.samplers import BaseSampler

from hypertune.errors import ConfigError
from hypertune.records import Direction
from hypertune.registry import load

__all__ = ["DIRECTIONS", "agreed", "check_max_t", "check_metric", "check_sampler"]

DIRECTIONS: dict[str, Direction] = {"min": "minimize", "max": "maximize"}
"""Optuna's word for each of Ray's modes."""


def check_metric(metric: Any, mode: Any) -> None:
    """Check that there is at most one metric and one mode.

    Raises:
        ConfigError: There are several, or the mode is unknown.
    """
    if isinstance(metric, list | tuple) or isinstance(mode, list | tuple):
        raise ConfigError(
            "several objectives",
            where="metric",
            given=metric,
            expected="one metric and one mode",
            fix="use ray.tune.search.optuna.OptunaSearch for several",
        )
    if mode is not None and mode not in DIRECTIONS:
        raise ConfigError("unknown mode", where="mode", given=mode, expected="min or max")


def agreed(name: str, own: str | None, of_config: str | None) -> str | None:
    """Return a setting that the search algorithm or ``TuneConfig`` has.

    Raises:
        ConfigError: They have different ones.
    """
    if own and of_config and own != of_config:
        raise ConfigError(
            "given twice, to the search algorithm and to TuneConfig",
            where=name,
            given=(own, of_config),
            fix="give it to one of them",
        )
    return own or of_config


def check_sampler(sampler: Any, seed: int | None, options: Mapping[str, Any]) -> None:
    """Check that a sampler is built, or has a known name.

    Raises:
        ConfigError: It is neither, or one that is built has a seed or options beside it.
    """
    if isinstance(sampler, str):
        load("sampler", sampler)  # an unknown name is an error here, not in the middle of Ray
        return
    if not isinstance(sampler, BaseSampler):
        raise ConfigError(
            "not a sampler", where="sampler", given=sampler, expected="a name or an instance of an Optuna sampler"
        )
    for name, value in (("seed", seed), *options.items()):
        if value is not None:
            raise ConfigError(
                "an option of a sampler that is built already",
                where=name,
                given=value,
                fix=f"give it to {type(sampler).__name__}",
            )


def check_max_t(max_t: Any) -> None:
    """Check the number of iterations of a whole trial.

    Raises:
        ConfigError: It is no whole number of at least 1.
    """
    if max_t is not None and (isinstance(max_t, bool) or not isinstance(max_t, int) or max_t < 1):
        raise ConfigError(
            "not a number of iterations", where="max_t", given=max_t, expected="a whole number of at least 1"
        )
