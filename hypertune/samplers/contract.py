"""How a sampler or a pruner is built from a name and options."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from numpy.random import SeedSequence
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hypertune.errors import ConfigError, did_you_mean
from hypertune.space import SearchSpace

__all__ = ["PrunerFactory", "SamplerFactory", "as_pruner", "as_sampler", "construct", "continued_seed"]

T = TypeVar("T")


class SamplerFactory(Protocol):
    """What a sampler module offers as its ``SAMPLER``."""

    def __call__(self, space: SearchSpace, *, seed: int, resumed_at: int, **options: Any) -> BaseSampler:
        """Build the sampler.

        Args:
            space: The search space.
            seed: Seed of the study.
            resumed_at: Trials the study already holds; 0 for a new study.
            options: The keys beside ``name`` in the config.

        Raises:
            ConfigError: An option is unknown or wrong.
        """
        ...


class PrunerFactory(Protocol):
    """What a pruner module offers as its ``PRUNER``."""

    def __call__(self, *, epochs: int, **options: Any) -> BasePruner:
        """Build the pruner for trials that report at most ``epochs`` times.

        Raises:
            ConfigError: An option is unknown or wrong.
        """
        ...


def continued_seed(seed: int, resumed_at: int) -> int:
    """Return the seed for a sampler that continues after ``resumed_at`` trials.

    Optuna does not store a sampler's random state: with the first seed again, a resumed study would propose its first
    trials a second time.
    """
    if resumed_at == 0:
        return seed
    return int(SeedSequence([seed, resumed_at]).generate_state(1)[0] % 2**31)


def construct(kind: Callable[..., T], defaults: Mapping[str, Any], options: Mapping[str, Any], *, where: str) -> T:
    """Call an Optuna class with defaults and the user's options.

    Args:
        kind: The class.
        defaults: Our choice of arguments; options win over them.
        options: The user's options.
        where: ``sampler`` or ``pruner``, for the message.

    Raises:
        ConfigError: An option is not an argument of the class, or the class refuses its value.
    """
    known = [name for name in inspect.signature(kind).parameters if name not in {"self", "args", "kwargs"}]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{getattr(kind, '__name__', kind)} has no such option",
                where=f"{where}.{name}",
                given=options[name],
                fix=did_you_mean(name, known),
            )
    try:
        with warnings.catch_warnings():
            # The config asked for it by name; that the option is young in Optuna is no news to the user.
            warnings.simplefilter("ignore", ExperimentalWarning)
            return kind(**{**defaults, **options})
    except (TypeError, ValueError, ImportError) as error:
        raise ConfigError(
            f"{getattr(kind, '__name__', kind)} refuses its options: {error}",
            where=where,
            given=dict(options),
            fix="see the option's documentation in Optuna",
        ) from error


def as_sampler(
    candidate: Any, space: SearchSpace, *, seed: int, resumed_at: int, options: Mapping[str, Any]
) -> BaseSampler:
    """Build a sampler from a factory of ours, or from any class derived from Optuna's ``BaseSampler``.

    A foreign class gets ``seed`` and ``search_space`` when it takes them.

    Raises:
        ConfigError: The candidate is neither, or an option is wrong.
    """
    if isinstance(candidate, type) and issubclass(candidate, BaseSampler):
        offered = {"seed": continued_seed(seed, resumed_at), "search_space": dict(space.unconditional)}
        taken = inspect.signature(candidate).parameters
        return construct(candidate, {k: v for k, v in offered.items() if k in taken}, options, where="sampler")
    built = _call(candidate, "sampler", space, seed=seed, resumed_at=resumed_at, **options)
    if not isinstance(built, BaseSampler):
        raise _builds_none("sampler", built)
    return built


def as_pruner(candidate: Any, *, epochs: int, options: Mapping[str, Any]) -> BasePruner:
    """Build a pruner from a factory of ours, or from any class derived from Optuna's ``BasePruner``.

    Raises:
        ConfigError: The candidate is neither, or an option is wrong.
    """
    if isinstance(candidate, type) and issubclass(candidate, BasePruner):
        return construct(candidate, {}, options, where="pruner")
    built = _call(candidate, "pruner", epochs=epochs, **options)
    if not isinstance(built, BasePruner):
        raise _builds_none("pruner", built)
    return built


def _call(candidate: Any, where: str, /, *args: Any, **keywords: Any) -> Any:
    if not callable(candidate):
        raise ConfigError(
            f"not a {where}", where=where, given=candidate, expected=f"an Optuna {where} class", fix="name the class"
        )
    return candidate(*args, **keywords)


def _builds_none(where: str, built: object) -> ConfigError:
    return ConfigError(f"builds no Optuna {where}", where=where, given=built, expected=f"an Optuna {where}")
