"""The options of ``runner: {name: ray, ...}``, checked one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hypertune.errors import ConfigError, did_you_mean

__all__ = ["RaySettings"]

_PLACEMENTS = ("pack", "spread")


@dataclass(frozen=True, slots=True)
class RaySettings:
    """How trials run on Ray.

    Attributes:
        address: ``local`` starts Ray on this machine, ``auto`` finds the cluster of this machine, ``host:port`` and
            ``ray://host:port`` name one.
        resources_per_trial: What each trial holds: ``cpu`` and ``gpu`` (fractions of one are shared), ``memory`` in
            bytes, ``custom`` with Ray resources by name.
        max_concurrent: Trials at once; None for as many as this machine's cores hold, or 8 on a cluster.
        placement: ``pack`` fills a node before the next one, ``spread`` takes nodes in turn.
        storage: Path or fsspec URL that the driver and every node can read and write; None sends files through Ray.
        runtime_env: Passed to ``ray.init``.
        py_modules: Folders or wheels to ship; short for ``runtime_env: {py_modules: [...]}``.
        retries: How often a trial whose node or worker was lost is repeated before it fails.
        start_timeout: Seconds to wait for the first worker.
        autoscaling: Whether nodes that do not exist yet are worth waiting for, up to ``start_timeout``.
    """

    address: str = "local"
    resources_per_trial: Mapping[str, Any] = field(default_factory=lambda: {"cpu": 1})
    max_concurrent: int | None = None
    placement: Literal["pack", "spread"] = "pack"
    storage: str | None = None
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    py_modules: tuple[str, ...] = ()
    retries: int = 2
    start_timeout: float = 120.0
    autoscaling: bool = False

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> RaySettings:
        """Check options and fill in the defaults.

        Raises:
            ConfigError: One is unknown or wrong.
        """
        for name, value in options.items():
            if name == "scheduler":
                raise ConfigError(
                    "schedulers become pruners where a whole config is read",
                    where="runner.scheduler",
                    given=value,
                    fix="give it in a config, or use `pruner:`",
                )
            if name not in _CHECKS:
                raise ConfigError(
                    "ray has no such option",
                    where=f"runner.{name}",
                    given=value,
                    fix=did_you_mean(name, {*_CHECKS, "scheduler"}),
                )
            accepts, expected = _CHECKS[name]
            if not accepts(value):
                raise ConfigError("not a value for it", where=f"runner.{name}", given=value, expected=expected)
        given = dict(options)
        if "resources_per_trial" in given:
            given["resources_per_trial"] = {"cpu": 1, **given["resources_per_trial"]}
            _check_resources(given["resources_per_trial"])
        if "py_modules" in given:
            given["py_modules"] = tuple(given["py_modules"])
            if "py_modules" in given.get("runtime_env", {}):
                raise ConfigError("given twice", where="runner.py_modules", fix="drop it here or in runner.runtime_env")
        return cls(**given)

    @property
    def request(self) -> dict[str, float]:
        """What a trial holds, by Ray's names."""
        names = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}
        wanted = {names[key]: float(value) for key, value in self.resources_per_trial.items() if key != "custom"}
        wanted |= {key: float(value) for key, value in self.resources_per_trial.get("custom", {}).items()}
        return {key: value for key, value in wanted.items() if value > 0}

    @property
    def threads(self) -> int:
        """Threads of torch and of BLAS in each trial."""
        return max(1, int(self.request.get("CPU", 1)))


def _whole(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "address": (_text, "local, auto, host:port or ray://host:port"),
    "resources_per_trial": (lambda value: isinstance(value, Mapping), "such as {cpu: 1, gpu: 0.5}"),
    "max_concurrent": (lambda value: value is None or _whole(1)(value), "1 or more"),
    "placement": (lambda value: isinstance(value, str) and value in _PLACEMENTS, " or ".join(_PLACEMENTS)),
    "storage": (lambda value: value is None or _text(value), "a path, or an fsspec URL such as s3://bucket/folder"),
    "runtime_env": (lambda value: isinstance(value, Mapping), "a mapping as ray.init takes it"),
    "py_modules": (lambda value: isinstance(value, list | tuple) and all(map(_text, value)), "a list of paths"),
    "retries": (_whole(0), "0 or more"),
    "start_timeout": (lambda value: _amount(value) and value > 0, "seconds, more than 0"),
    "autoscaling": (lambda value: isinstance(value, bool), "true or false"),
}


def _check_resources(resources: Mapping[str, Any]) -> None:
    known = ("cpu", "gpu", "memory", "custom")
    for name, value in resources.items():
        where = f"runner.resources_per_trial.{name}"
        if name not in known:
            raise ConfigError(
                "no such resource",
                where=where,
                given=value,
                fix=did_you_mean(name, known, fallback="give resources of your own as custom: {name: amount}"),
            )
        if name == "custom":
            if not isinstance(value, Mapping):
                raise ConfigError("not a mapping", where=where, given=value, expected="{name: amount}")
            for key, amount in value.items():
                _check_amount(amount, f"{where}.{key}")
        else:
            _check_amount(value, where)


def _check_amount(value: Any, where: str) -> None:
    if not _amount(value):
        raise ConfigError("not an amount", where=where, given=value, expected="a number from 0")
    if value > 1 and value != int(value):
        raise ConfigError(
            "only a part of one can be shared", where=where, given=value, expected="a whole number, or one below 1"
        )
