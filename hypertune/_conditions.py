"""When a conditional hyperparameter exists: the ``when`` entries of a search space."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from hypertune._distributions import describe
from hypertune.errors import SpaceError, did_you_mean
from hypertune.records import Params, ParamValue

__all__ = ["Condition", "check_conditions", "holds", "parents_first", "read_condition", "to_when"]

Condition = Mapping[str, tuple[ParamValue, ...]]
"""The values that each parent may have for the hyperparameter to exist; all parents must have one of theirs."""


def read_condition(entry: Any, where: str) -> Condition:
    """Read ``{parent: value}`` or ``{parent: [value, ...]}``.

    Raises:
        SpaceError: It is no such mapping, or a list of values is empty.
    """
    if not isinstance(entry, Mapping) or not entry:
        raise SpaceError(
            "not a condition",
            where=where,
            given=entry,
            expected="a mapping from another hyperparameter to its value, or to a list of values",
            fix="write `when: {optimizer: sgd}`",
        )
    condition: dict[str, tuple[ParamValue, ...]] = {}
    for parent, values in entry.items():
        listed = tuple(values) if isinstance(values, list | tuple) else (values,)
        if not listed:
            raise SpaceError("no value is listed", where=f"{where}.{parent}", fix="list at least one value")
        condition[str(parent)] = listed
    return condition


def check_conditions(conditions: Mapping[str, Condition], distributions: Mapping[str, BaseDistribution]) -> None:
    """Check that conditions speak of discrete hyperparameters of the space and their values, in no circle.

    Raises:
        SpaceError: One does not; the message has its dotted path.
    """
    for name, condition in conditions.items():
        if name not in distributions:
            raise SpaceError(
                "conditional but not in the space", where=f"space.{name}", fix=did_you_mean(name, distributions)
            )
        for parent, values in condition.items():
            where = f"space.{name}.when.{parent}"
            distribution = distributions.get(parent)
            if distribution is None:
                raise SpaceError("no such hyperparameter", where=where, fix=did_you_mean(parent, distributions))
            if isinstance(distribution, FloatDistribution):
                raise SpaceError(
                    "a condition on a continuous hyperparameter",
                    where=where,
                    given=list(values),
                    expected="a categorical or whole number",
                )
            for value in values:
                if not _possible(value, distribution):
                    raise SpaceError("can never be true", where=where, given=value, expected=describe(distribution))
    try:
        parents_first(conditions, distributions)
    except CycleError as error:
        circle = " -> ".join(map(str, error.args[1]))
        raise SpaceError(
            "conditions go in a circle", where="space", given=circle, fix="drop one of these `when`"
        ) from None


def parents_first(conditions: Mapping[str, Condition], names: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names with every parent before its children, otherwise in their own order.

    Raises:
        CycleError: There is no such order.
    """
    order = TopologicalSorter({name: conditions.get(name, {}) for name in names}).static_order()
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[parent] for parent in conditions.get(name, {})), default=-1)
    return tuple(sorted(names, key=depth.__getitem__))  # stable: the space's order within a depth


def holds(condition: Condition, params: Params) -> bool:
    """Return whether every parent is there with one of its values."""
    return all(parent in params and _among(params[parent], values) for parent, values in condition.items())


def to_when(condition: Condition) -> dict[str, Any]:
    """Return the YAML form."""
    return {parent: values[0] if len(values) == 1 else list(values) for parent, values in condition.items()}


def _possible(value: ParamValue, distribution: BaseDistribution) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return _among(value, distribution.choices)
    try:
        return not isinstance(value, bool) and value == int(value) and distribution._contains(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _among(value: ParamValue, values: tuple[Any, ...]) -> bool:
    # To Python True is 1; to a person who writes YAML it is not.
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)
