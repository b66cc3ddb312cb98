"""Search spaces to and from Ray's domains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune
from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Quantized, Uniform

from hypertune._distributions import read_distribution
from hypertune.errors import SpaceError
from hypertune.space import SearchSpace

__all__ = ["from_ray", "to_ray"]


def to_ray(space: SearchSpace) -> dict[str, Domain]:
    """Return the space as Ray Tune domains, for ``Tuner(param_space=...)``.

    Raises:
        SpaceError: A stepped range does not start on a multiple of its step; Ray's grids start at 0. Or a
            hyperparameter is conditional, which Ray's domains cannot be.
    """
    for name in space.conditions:
        raise SpaceError(
            "Ray's domains know no conditions",
            where=f"space.{name}.when",
            expected="a space without conditional hyperparameters",
            fix="fix the hyperparameters that it depends on with `space.with_fixed({...})`",
        )
    return {name: _to_domain(distribution, f"space.{name}") for name, distribution in space.distributions.items()}


def from_ray(param_space: Mapping[str, Any]) -> SearchSpace:
    """Return Ray Tune domains as a space.

    Nested dicts become names joined by ``/``, as Ray itself names them; plain values become fixed hyperparameters.

    Raises:
        SpaceError: A domain has no equivalent here: a grid search, a function, a normal distribution, a quantized
            logarithmic scale.
    """
    return SearchSpace(dict(_flat(param_space, "")))


def _flat(param_space: Mapping[str, Any], prefix: str) -> list[tuple[str, BaseDistribution]]:
    flat = []
    for key, value in param_space.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and "grid_search" not in value:
            flat += _flat(value, f"{name}/")
        else:
            flat.append((name, _to_distribution(value, f"space.{name}")))
    return flat


def _to_domain(distribution: BaseDistribution, where: str) -> Domain:
    if isinstance(distribution, CategoricalDistribution):
        return tune.choice(list(distribution.choices))
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if distribution.log:
            return tune.lograndint(low, high + 1)
        if step == 1:
            return tune.randint(low, high + 1)
        _check_grid(low, step, where)
        return tune.qrandint(low, high, step)
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return tune.loguniform(distribution.low, distribution.high)
    if distribution.step is None:
        return tune.uniform(distribution.low, distribution.high)
    _check_grid(distribution.low, distribution.step, where)
    return tune.quniform(distribution.low, distribution.high, distribution.step)


def _check_grid(low: float, step: float, where: str) -> None:
    if not math.isclose(low / step, round(low / step), abs_tol=1e-9):
        raise SpaceError(
            "Ray's stepped ranges lie on multiples of the step",
            where=f"{where}.low",
            given=low,
            expected=f"a multiple of {step:g}",
            fix="move low onto the grid or drop the step",
        )


def _to_distribution(value: Any, where: str) -> BaseDistribution:
    if not isinstance(value, Domain):
        if isinstance(value, Mapping):
            raise _no_equivalent("grid_search", where)
        return read_distribution(value, where)
    sampler = value.get_sampler()
    step = None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.get_sampler()
    log = isinstance(sampler, LogUniform)
    if not isinstance(sampler, Uniform | LogUniform) or (log and step not in (None, 1)):
        raise _no_equivalent(f"{type(value).__name__} with {type(sampler).__name__}", where)
    if isinstance(value, Categorical):
        return _to_categorical(value, where)
    if isinstance(value, Integer):
        if step in (None, 1):
            return IntDistribution(int(value.lower), int(value.upper) - 1, log=log)  # Ray leaves `upper` out
        low, high = math.ceil(value.lower / step) * step, math.floor(value.upper / step) * step
        return IntDistribution(int(low), int(high), step=int(step))
    if isinstance(value, Float):
        if step is None:
            return FloatDistribution(value.lower, value.upper, log=log)
        low, high = math.ceil(value.lower / step - 1e-9) * step, math.floor(value.upper / step + 1e-9) * step
        entry = {"type": "float", "low": low, "high": high, "step": step}
        return read_distribution(entry, where)
    raise _no_equivalent(type(value).__name__, where)


def _to_categorical(value: Categorical, where: str) -> BaseDistribution:
    for index, choice in enumerate(value.categories):
        # Ray puts a placeholder, a tuple, where an object was before a search algorithm sees it.
        if choice is not None and not isinstance(choice, bool | int | float | str):
            raise SpaceError(
                "Ray's choice among objects has no equivalent here",
                where=f"{where}.choices.{index}",
                given=choice,
                expected="text, number, true/false, null",
                fix="choose among names, and look the object up by its name in the trainable",
            )
    return read_distribution({"choices": list(value.categories)}, where)


def _no_equivalent(what: str, where: str) -> SpaceError:
    return SpaceError(
        f"Ray's {what} has no equivalent here",
        where=where,
        expected="uniform, loguniform, quniform, randint, lograndint, qrandint or choice",
        fix="use one of them",
    )
