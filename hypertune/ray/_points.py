"""Points that are tried before a sampler's proposals, or that are known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypertune.errors import ConfigError, SpaceError, did_you_mean
from hypertune.ray._results import flatten
from hypertune.records import Params
from hypertune.space import SearchSpace

__all__ = ["Point", "check_point", "read_points"]

Point = tuple[dict[str, Any], float | None]
"""Flat parameters, and the value at them when it is known."""


def read_points(points: Sequence[Mapping[str, Any]] | None, rewards: Sequence[float] | None) -> list[Point]:
    """Return ``points_to_evaluate`` with their ``evaluated_rewards``.

    Raises:
        ConfigError: They are no list of mappings, or there is not one value for each point.
    """
    if isinstance(points, Mapping) or not all(isinstance(point, Mapping) for point in points or ()):
        raise ConfigError("not a list of configs", where="points_to_evaluate", given=points, fix="put it into a list")
    read = [flatten(point) for point in points or ()]
    if rewards is None:
        return [(point, None) for point in read]
    if len(rewards) != len(read):
        raise ConfigError(
            "not one value for each point",
            where="evaluated_rewards",
            given=f"{len(rewards)} values",
            expected=f"{len(read)}, as many as points_to_evaluate",
        )
    return [(point, float(reward)) for point, reward in zip(read, rewards, strict=True)]


def check_point(point: Mapping[str, Any], space: SearchSpace, *, where: str, whole: bool) -> Params:
    """Return a point as the space's own scalars.

    Args:
        point: Flat parameters.
        space: The search space.
        where: Dotted path for the message.
        whole: Whether every hyperparameter that exists must have a value.

    Raises:
        SpaceError: A name is unknown or missing, or a value is outside its range.
    """
    if whole:
        return space.validate(point, where=where)
    for name in point:
        if name not in space.distributions:
            raise SpaceError(
                "unknown hyperparameter", where=f"{where}.{name}", fix=did_you_mean(name, space.distributions)
            )
    if not point:
        return {}
    return SearchSpace({name: space.distributions[name] for name in point}).validate(point, where=where)
