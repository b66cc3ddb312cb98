"""Where a search algorithm's space comes from: the caller, or the domains in Ray's ``param_space``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from ray.tune.search.sample import Domain

from hypertune.errors import SpaceError
from hypertune.ray._results import flatten
from hypertune.ray.domains import from_ray
from hypertune.space import SearchSpace

__all__ = ["SpaceLike", "nest", "read_space", "settle_space"]

SpaceLike = SearchSpace | str | Path | Mapping[str, Any]
"""A space, a shipped name, a YAML file's path, its content, or Optuna distributions or Ray domains by name."""


def read_space(source: SpaceLike) -> SearchSpace:
    """Return the space that a caller gave.

    Raises:
        SpaceError: It is none, or its names cannot be nested.
    """
    space = _read(source)
    nest(dict.fromkeys(space.names))
    return space


def settle_space(known: SearchSpace | None, param_space: Mapping[str, Any], *, own: bool) -> SearchSpace:
    """Return the space of a search algorithm that Ray hands its ``param_space``; other values in there stay Ray's.

    Args:
        known: The space so far.
        param_space: What Ray hands over.
        own: Whether the space so far was given to the search algorithm, and not by Ray before.

    Raises:
        SpaceError: The space is given twice, or not at all, or Ray gave another one before; or a domain has no
            equivalent here, is an element of a list, or has a name that cannot be nested.
    """
    found = _domains(param_space)
    if own and found is not None:
        raise SpaceError(
            "the space is given twice: domains in param_space, and space= of the search algorithm",
            where="param_space",
            given=list(found.names),
            fix="remove one of them",
        )
    if known is not None and found is not None and (lines := known.differences(found)):
        raise SpaceError(
            "the search algorithm has begun with another param_space",
            where="param_space",
            given="; ".join(lines),
            fix="use a new search algorithm",
        )
    space = known or found
    if space is None:
        raise SpaceError(
            "there is nothing to search",
            where="param_space",
            given=list(param_space),
            expected="Ray's domains in param_space, or space= of the search algorithm",
        )
    _check_overlap(space, param_space)
    nest(dict.fromkeys(space.names))
    return space


def _domains(param_space: Mapping[str, Any]) -> SearchSpace | None:
    domains: dict[str, Any] = {}
    for name, value in _leaves(param_space, ""):
        if isinstance(value, Domain) or _is_grid(value):
            domains[name] = value
        elif isinstance(value, list | tuple):
            _check_elements(value, f"param_space.{name}")
    return from_ray(domains) if domains else None


def _check_overlap(space: SearchSpace, param_space: Mapping[str, Any]) -> None:
    for name, value in _leaves(param_space, ""):
        if name in space.distributions and not isinstance(value, Domain):
            raise SpaceError(
                "fixed by param_space and searched by the search algorithm's space",
                where=f"param_space.{name}",
                given=value,
                fix="remove one of the two, or fix it with `space.with_fixed({...})`",
            )


def nest(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the trainable's config: ``a/b`` becomes ``{"a": {"b": ...}}``.

    Raises:
        SpaceError: One name is both a hyperparameter and the start of another.
    """
    config: dict[str, Any] = {}
    for name, value in params.items():
        *parents, last = name.split("/")
        inner = config
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise _both(name)
        if last in inner:
            raise _both(name)
        inner[last] = value
    return config


def _read(source: SpaceLike) -> SearchSpace:
    if isinstance(source, SearchSpace):
        return source
    if isinstance(source, Mapping):
        flat = dict(_leaves(source, ""))
        if any(isinstance(value, Domain) or _is_grid(value) for value in flat.values()):
            return from_ray(source)
        if any(isinstance(value, BaseDistribution) for value in flat.values()):
            fixed = {name: value for name, value in flat.items() if not isinstance(value, BaseDistribution)}
            plain = SearchSpace.from_mapping(fixed).distributions if fixed else {}
            return SearchSpace({name: plain.get(name, value) for name, value in flat.items()})
    if isinstance(source, str | Path | Mapping):
        return SearchSpace.load(source)
    raise SpaceError(
        "not a search space",
        where="space",
        given=source,
        expected="a SearchSpace, a shipped name, a YAML file, or Optuna distributions by name",
        fix="Ray's own domains go into param_space",
    )


def _leaves(mapping: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and not _is_grid(value):
            leaves += _leaves(value, f"{prefix}{key}/")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _is_grid(value: Any) -> bool:
    return isinstance(value, Mapping) and "grid_search" in value


def _check_elements(values: list[Any] | tuple[Any, ...], where: str) -> None:
    for index, value in enumerate(values):
        inner = list(flatten(value).values()) if isinstance(value, Mapping) else [value]
        if any(isinstance(element, Domain) for element in inner):
            raise SpaceError(
                "a domain inside a list has no equivalent here",
                where=f"{where}.{index}",
                given=value,
                fix="give the hyperparameter a name of its own and build the list in the trainable",
            )


def _both(name: str) -> SpaceError:
    return SpaceError(
        "a name that is also the start of another one cannot be nested",
        where=f"space.{name}",
        expected="names that differ before the last /",
        fix="rename one of them",
    )
