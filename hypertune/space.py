"""The search space: which hyperparameters there are, their ranges, and which of them are tuned inside a trial.

A space is read from YAML (a shipped name, a path, or an inline mapping), holds Optuna distributions, and maps
parameters to the unit cube and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from hypertune._conditions import Condition, check_conditions, holds, parents_first, read_condition, to_when
from hypertune._distributions import describe, read_distribution, read_flag, to_entry
from hypertune._unit_cube import decode_value, encode_value
from hypertune._yaml import read_yaml
from hypertune.errors import SpaceError, did_you_mean
from hypertune.records import Params, ParamValue

__all__ = ["SearchSpace", "shipped_spaces"]

_ABSENT = 0.5  # where on its axis a hyperparameter is that a configuration does not have


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A search space of named hyperparameters, each independent or there only under a condition on others.

    Attributes:
        distributions: Optuna distribution of each hyperparameter, in the order of the source.
        self_tuned: Hyperparameters a self-tuning trial adjusts online, from the sampled start.
        docs: One line of documentation by name, where there is one.
        units: Unit by name, where there is one.
        conditions: When a conditional hyperparameter exists: ``{name: {parent: (value, ...)}}``.
    """

    distributions: Mapping[str, BaseDistribution]
    self_tuned: frozenset[str] = frozenset()
    docs: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.distributions:
            raise SpaceError(
                "the search space is empty",
                where="space",
                expected="at least one hyperparameter",
                fix="add one",
            )
        for name in sorted(self.self_tuned):
            _check_self_tuned(name, self.distributions)
        check_conditions(self.conditions, self.distributions)
        for attribute in ("distributions", "docs", "units", "conditions"):
            object.__setattr__(self, attribute, MappingProxyType(dict(getattr(self, attribute))))

    def __reduce__(self) -> tuple[Any, ...]:
        # Mapping proxies do not pickle, and a space travels to worker processes.
        mappings = (dict(getattr(self, name)) for name in ("docs", "units", "conditions"))
        return (type(self), (dict(self.distributions), self.self_tuned, *mappings))

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any], *, folder: Path | None = None) -> SearchSpace:
        """Read a space.

        Args:
            source: A shipped name (``phnn``), the path of a YAML file, or the mapping itself.
            folder: Folder that relative paths start from; the current one by default.

        Raises:
            SpaceError: The space is wrong; the message names the parameter.
            ConfigError: The file is missing or is not valid YAML.
        """
        if isinstance(source, Mapping):
            return cls.from_mapping(source)
        text = str(source)
        if text in shipped_spaces():
            path = shipped_spaces()[text]
        else:
            path = (folder or Path()) / text
            if not path.exists():
                near = did_you_mean(text, shipped_spaces(), fallback=f"shipped: {', '.join(shipped_spaces())}")
                raise SpaceError(
                    "no shipped space and no file of that name",
                    where="space",
                    given=text,
                    expected="a shipped name, a path, or an inline mapping",
                    fix=near,
                )
        content, _ = read_yaml(path, where="space")
        if not isinstance(content, Mapping):
            raise SpaceError(
                f"{path.name} is no mapping of hyperparameters",
                where="space",
                given=content,
                fix="see phnn.yaml",
            )
        return cls.from_mapping(content)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SearchSpace:
        """Build a space from the YAML form: name -> ``{type, low, high, log, step | choices, self_tune, unit, doc,
        when}``.

        A plain value instead of a mapping fixes the hyperparameter to that value. ``when: {parent: value}`` or
        ``{parent: [value, ...]}`` makes it conditional: it exists only where the parent exists and has such a value.

        Raises:
            SpaceError: A parameter is wrong; the message has its dotted path.
        """
        distributions: dict[str, BaseDistribution] = {}
        self_tuned: set[str] = set()
        docs: dict[str, str] = {}
        units: dict[str, str] = {}
        conditions: dict[str, Condition] = {}
        for name, entry in mapping.items():
            if not isinstance(name, str) or not name.strip():
                raise SpaceError("a hyperparameter's name must be text", where="space", given=name, fix="quote it")
            where = f"space.{name}"
            distributions[name] = read_distribution(entry, where)
            if isinstance(entry, Mapping):
                if read_flag(entry.get("self_tune", False), f"{where}.self_tune"):
                    self_tuned.add(name)
                if "when" in entry:
                    conditions[name] = read_condition(entry["when"], f"{where}.when")
                for key, texts in (("doc", docs), ("unit", units)):
                    if entry.get(key):
                        texts[name] = str(entry[key])
        return cls(distributions, frozenset(self_tuned), docs, units, conditions)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Return the YAML form; `from_mapping` of it gives an equal space."""
        return {name: self._entry(name) for name in self.distributions}

    @property
    def names(self) -> tuple[str, ...]:
        """Hyperparameter names, in order; the order of the unit cube's axes."""
        return tuple(self.distributions)

    @property
    def order(self) -> tuple[str, ...]:
        """Hyperparameter names with every parent before what is conditional on it: the order to sample them in."""
        return parents_first(self.conditions, self.distributions)

    @property
    def unconditional(self) -> Mapping[str, BaseDistribution]:
        """Distributions of the hyperparameters that every configuration has."""
        return {name: dist for name, dist in self.distributions.items() if name not in self.conditions}

    def __len__(self) -> int:
        return len(self.distributions)

    def exists(self, name: str, params: Params) -> bool:
        """Return whether a configuration has the hyperparameter; ``params`` holds at least its parents."""
        return name not in self.conditions or holds(self.conditions[name], params)

    def active(self, params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """Return the values without those of conditional hyperparameters whose condition does not hold."""
        kept: dict[str, ParamValue] = {}
        for name in self.order:
            if name in params and self.exists(name, kept):
                kept[name] = params[name]
        return {name: kept[name] for name in self.names if name in kept}

    def given(self, params: Params) -> SearchSpace:
        """Return the space without the conditional hyperparameters that a configuration does not have."""
        if not self.conditions:
            return self
        there = self.active(params)
        kept = {n: distribution for n, distribution in self.distributions.items() if self.exists(n, there)}
        return SearchSpace(kept, self.self_tuned & frozenset(kept), self.docs, self.units)

    def settled(self) -> SearchSpace:
        """Return the space without conditions on a hyperparameter of one value, which all configurations meet."""
        conditions = {name: self._open(condition) for name, condition in self.conditions.items()}
        return replace(self, conditions={name: condition for name, condition in conditions.items() if condition})

    def _open(self, condition: Condition) -> Condition:
        always = {name for name in condition if name not in self.conditions and self.distributions[name].single()}
        return {parent: values for parent, values in condition.items() if parent not in always}

    def with_fixed(self, params: Params) -> SearchSpace:
        """Return what is left to search when some hyperparameters have the given values.

        What depends on a fixed value is settled by it. And a fixed conditional hyperparameter exists: of a categorical
        one that it depends on only the choices are left that let it.

        Raises:
            SpaceError: Nothing is left, or two of the given values exclude each other.
        """
        conditions: dict[str, Condition] = {}
        distributions = dict(self.distributions)
        existing = [name for name in self.conditions if name in params]
        for name in existing:
            for parent, values in self.conditions[name].items():
                known = distributions[parent]
                if isinstance(known, CategoricalDistribution):
                    left = [choice for choice in known.choices if holds({parent: values}, {parent: choice})]
                    if not left:
                        raise SpaceError(
                            "fixed hyperparameters that cannot exist together",
                            where=f"space.{name}.when.{parent}",
                            given=", ".join(f"{fixed}={params[fixed]!r}" for fixed in existing if fixed in params),
                            expected=f"{parent} to have one value for all of them",
                            fix="fix one of them less",
                        )
                    distributions[parent] = CategoricalDistribution(left)
                if parent in self.conditions and parent not in existing:
                    existing.append(parent)
        gone = {name for name in self.distributions if name in params}
        for name in self.order:
            if name in gone:
                continue
            condition = self.conditions.get(name, {})
            settled = {parent: values for parent, values in condition.items() if parent in params or parent in gone}
            if not holds(settled, params):
                gone.add(name)
            elif len(settled) < len(condition):
                conditions[name] = {parent: values for parent, values in condition.items() if parent not in settled}
        kept = {name: distribution for name, distribution in distributions.items() if name not in gone}
        return SearchSpace(kept, self.self_tuned & frozenset(kept), self.docs, self.units, conditions)

    def encode(self, params: Params) -> NDArray[np.float64]:
        """Map parameters to the unit cube.

        Floats are scaled linearly or by logarithm. A value out of k equally likely ones (categories, integers, steps)
        goes to the middle of its 1/k wide cell, so that uniform points decode to uniform values. A conditional
        hyperparameter that does not exist goes to the middle of its axis.

        Args:
            params: A value for every hyperparameter that exists; further names are ignored.

        Returns:
            Point of shape ``(d,)`` in [0, 1].

        Raises:
            SpaceError: A value is missing or outside its range.
        """
        there = self.active(params) if self.conditions else params
        return np.array(
            [
                encode_value(self._value(there, name), distribution) if self.exists(name, there) else _ABSENT
                for name, distribution in self.distributions.items()
            ]
        )

    def decode(self, point: ArrayLike) -> dict[str, ParamValue]:
        """Map a point of the unit cube to parameters; coordinates outside [0, 1] are clipped.

        Args:
            point: Shape ``(d,)``.

        Returns:
            Plain Python scalars by name, every one inside its range; conditional ones whether they exist or not, see
            `active`.

        Raises:
            SpaceError: The point has another shape, or is not finite.
        """
        array = np.asarray(point, dtype=np.float64)
        if array.shape != (len(self),) or not np.isfinite(array).all():
            raise SpaceError(
                "not a point of the unit cube",
                where="space",
                given=point,
                expected=f"{len(self)} finite numbers",
            )
        return {
            name: decode_value(float(np.clip(u, 0.0, 1.0)), distribution)
            for u, (name, distribution) in zip(array, self.distributions.items(), strict=True)
        }

    def sample(self, n: int, *, seed: int) -> list[dict[str, ParamValue]]:
        """Return ``n`` independent uniform configurations."""
        return [self.active(self.decode(point)) for point in np.random.default_rng(seed).random((n, len(self)))]

    def validate(self, params: Params, *, where: str = "params") -> dict[str, ParamValue]:
        """Return the parameters as this space's own scalars.

        Raises:
            SpaceError: A name is unknown or missing, a value is outside its range, or a condition does not hold.
        """
        for name in params:
            if name not in self.distributions:
                raise SpaceError(
                    "unknown hyperparameter",
                    where=f"{where}.{name}",
                    fix=did_you_mean(name, self.distributions),
                )
        there: dict[str, ParamValue] = {}
        for name in self.order:
            if self.exists(name, there):
                there[name] = self._value(params, name, where)
            elif name in params:
                raise SpaceError(
                    "given although its condition does not hold",
                    where=f"{where}.{name}",
                    given=params[name],
                    expected=f"it only when {_in_words(self.conditions[name])}",
                    fix="remove it",
                )
        return {name: there[name] for name in self.distributions if name in there}

    def differences(self, other: SearchSpace) -> list[str]:
        """Return one line for each hyperparameter on which two spaces disagree."""
        lines = []
        for name in dict.fromkeys((*self.distributions, *other.distributions)):
            mine, theirs = (_essence(space, name) for space in (self, other))
            if mine != theirs:
                lines.append(f"{name}: {mine or 'absent'} here, {theirs or 'absent'} there")
        return lines

    def _value(self, params: Params, name: str, where: str = "params") -> ParamValue:
        distribution = self.distributions[name]
        if name not in params:
            raise SpaceError("value is missing", where=f"{where}.{name}", expected=describe(distribution))
        value = params[name]
        try:
            internal = distribution.to_internal_repr(value)
            inside = distribution._contains(internal)
        except (ValueError, TypeError):
            inside = False
        if not inside or (isinstance(value, bool) and not isinstance(distribution, CategoricalDistribution)):
            raise SpaceError(
                "value is outside the space",
                where=f"{where}.{name}",
                given=value,
                expected=describe(distribution),
            )
        plain: ParamValue = distribution.to_external_repr(internal)
        return plain

    def _entry(self, name: str) -> dict[str, Any]:
        entry = to_entry(self.distributions[name])
        if name in self.self_tuned:
            entry["self_tune"] = True
        if name in self.conditions:
            entry["when"] = to_when(self.conditions[name])
        if self.units.get(name):
            entry["unit"] = self.units[name]
        if self.docs.get(name):
            entry["doc"] = self.docs[name]
        return entry


def shipped_spaces() -> dict[str, Path]:
    """Return the shipped spaces: name -> file."""
    package = Path(__file__).parent
    # In a wheel the folder lies inside the package; in a checkout beside it.
    folder = next((f for f in (package / "search_spaces", package.parent / "search_spaces") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _check_self_tuned(name: str, distributions: Mapping[str, BaseDistribution]) -> None:
    distribution = distributions.get(name)
    if distribution is None:
        raise SpaceError(
            "self-tuned but not in the space", where=f"space.{name}", fix=did_you_mean(name, distributions)
        )
    if isinstance(distribution, CategoricalDistribution):
        raise SpaceError(
            "a categorical hyperparameter has no direction to tune along",
            where=f"space.{name}.self_tune",
            fix="remove `self_tune` or make it a float or int range",
        )
    if distribution.single():
        raise SpaceError(
            "a range of zero width leaves nothing to tune",
            where=f"space.{name}.self_tune",
            fix="widen low..high",
        )


def _essence(space: SearchSpace, name: str) -> dict[str, Any] | None:
    if name not in space.distributions:
        return None
    return {
        **to_entry(space.distributions[name]),
        **({"self_tune": True} if name in space.self_tuned else {}),
        **({"when": to_when(space.conditions[name])} if name in space.conditions else {}),
    }


def _in_words(condition: Condition) -> str:
    return " and ".join(f"{parent} is {' or '.join(map(repr, values))}" for parent, values in condition.items())
