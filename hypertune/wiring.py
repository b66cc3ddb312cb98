"""From a config to the objects it names: space, sampler, pruner, runner, and the recipe for the trials."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hypertune._family_options import fixed_hyperparameters, searched_mixtures
from hypertune.config import Config
from hypertune.errors import ConfigError
from hypertune.many_tasks import ManyTasksObjective
from hypertune.objectives import FamilyObjective, UserObjective, load_family, source_folder
from hypertune.registry import add_import_folder, load
from hypertune.runners.contract import MakeObjective, Runner
from hypertune.samplers.contract import as_pruner, as_sampler
from hypertune.space import SearchSpace

__all__ = ["make_objective", "read_pruner", "read_runner", "read_sampler", "read_space"]


def read_space(config: Config) -> SearchSpace:
    """Return the search space a config names; a family's own space when it names none.

    Options of the family (``family: {name: phnn, n: 4}``) fix hyperparameters and leave the space.

    Raises:
        HypertuneError: The space is wrong, missing, or has nothing left to search.
    """
    source, folder = config.space, source_folder(config)
    if source is None:
        assert config.family is not None
        family = load_family(config.family, folder)
        if family.default_space is None:
            raise ConfigError(
                f"family {family.name!r} has no space of its own",
                where="space",
                fix="add `space:` with a name, a path, or a mapping",
            )
        source = family.default_space
    space = SearchSpace.load(source, folder=folder)
    options = config.family.options if config.family else {}
    fixed = fixed_hyperparameters(options)
    for name in searched_mixtures(options):
        space = _with_share(space, name)
    both = [name for name in fixed if name in space.distributions]
    if both and isinstance(source, Mapping):
        raise ConfigError(
            "fixed by the family's options and searched by the space",
            where=f"family.{both[0]}",
            given=fixed[both[0]],
            fix="remove one of the two",
        )
    return (space.with_fixed(fixed) if both else space).settled()


def _with_share(space: SearchSpace, name: str) -> SearchSpace:
    if name in space.distributions:
        return space
    mapping = {**space.to_mapping(), name: {"type": "float", "low": 0.0, "high": 1.0, "doc": "share of the first"}}
    return SearchSpace.from_mapping(mapping)


def read_sampler(config: Config, space: SearchSpace, *, resumed_at: int = 0) -> BaseSampler:
    """Build the sampler.

    Raises:
        ConfigError: The name or an option is unknown or wrong.
    """
    add_import_folder(source_folder(config))
    return as_sampler(
        load("sampler", config.sampler.name, where="sampler"),
        space,
        seed=config.study.seed,
        resumed_at=resumed_at,
        options=config.sampler.options,
    )


def read_pruner(config: Config) -> BasePruner:
    """Build the pruner.

    Raises:
        ConfigError: The name or an option is unknown or wrong.
    """
    add_import_folder(source_folder(config))
    pruner = load("pruner", config.pruner.name, where="pruner")
    return as_pruner(pruner, epochs=config.trial.epochs, options=config.pruner.options)


def read_runner(config: Config) -> Runner:
    """Build the runner.

    Raises:
        ConfigError: The name or an option is unknown or wrong.
    """
    add_import_folder(source_folder(config))
    make = load("runner", config.runner.name, where="runner")
    runner: Runner = make(timeout=config.trial.timeout, **config.runner.options)
    return runner


def make_objective(config: Config, space: SearchSpace) -> MakeObjective:
    """Return the recipe for what the trials run."""
    if config.objective is not None:
        return UserObjective(config.objective, source_folder(config))
    add_import_folder(source_folder(config))
    if config.tasks is not None:
        return ManyTasksObjective(config, space)
    sampler = load("sampler", config.sampler.name, where="sampler")
    return FamilyObjective(config, space, self_tuning=bool(getattr(sampler, "self_tuning", False)))
