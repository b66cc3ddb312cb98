"""From a config to the objects it names: space, sampler, pruner, runner, and the recipe for the trials."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from hypertune._family_options import fixed_hyperparameters, searched_mixtures
from hypertune.config import Component, Config, RunnerConfig
from hypertune.errors import ConfigError, did_you_mean
from hypertune.hypernetwork_prior import check_hypernetwork, wants_hypernetwork
from hypertune.many_tasks import ManyTasksObjective
from hypertune.objectives import FamilyObjective, UserObjective, load_family, source_folder
from hypertune.registry import add_import_folder, load
from hypertune.runners.contract import MakeObjective, Runner
from hypertune.samplers.contract import as_pruner, as_sampler
from hypertune.space import SearchSpace

if TYPE_CHECKING:
    from hypertune.samplers._prior import Predictor

__all__ = ["make_objective", "read_pruner", "read_runner", "read_sampler", "read_space", "with_scheduler"]

# Schedulers by Ray Tune's names: the pruner of ours that is the same, and what its options are called there.
_SCHEDULERS: dict[str, tuple[str, dict[str, str]]] = {
    "asha": ("successive_halving", {"grace_period": "min_resource", "reduction_factor": "reduction_factor"}),
    "hyperband": (
        "hyperband",
        {"grace_period": "min_resource", "max_t": "max_resource", "reduction_factor": "reduction_factor"},
    ),
}


def with_scheduler(config: Config) -> Config:
    """Return the config with the scheduler of a ray runner as its pruner: the driver judges, wherever trials run.

    Raises:
        ConfigError: It is unknown, one of its options is, or there is a pruner beside it.
    """
    options = config.runner.options
    if config.runner.name != "ray" or "scheduler" not in options:
        return config
    where, scheduler = "runner.scheduler", options.pop("scheduler")
    if isinstance(scheduler, str):
        scheduler = {"name": scheduler}
    if not isinstance(scheduler, Mapping) or not isinstance(scheduler.get("name"), str):
        raise ConfigError("not a scheduler", where=where, given=scheduler, expected="{name: asha}, with options")
    if config.pruner.name != "none":
        raise ConfigError(
            "both a scheduler and a pruner are given, and they are the same thing",
            where=where,
            given=scheduler,
            fix="drop one of the two",
        )
    name = scheduler["name"]
    if name in {"pbt", "pb2"}:
        raise ConfigError(
            f"{name} exchanges weights between trials, which only Ray Tune's own loop can do",
            where=where,
            given=name,
            fix="use Ray Tune with a search algorithm of hypertune.ray, or a self-tuning sampler such as stn",
        )
    if name not in _SCHEDULERS:
        raise ConfigError(
            "no such scheduler", where=f"{where}.name", given=name, fix=did_you_mean(name, [*_SCHEDULERS, "pbt"])
        )
    pruner, names = _SCHEDULERS[name]
    translated: dict[str, object] = {}
    for key, value in scheduler.items():
        if key == "max_t" and key not in names:
            _check_length(config, value, f"{where}.max_t")
        elif key != "name" and key not in names:
            known = {*names, "max_t"}
            raise ConfigError(
                f"{name} has no such option", where=f"{where}.{key}", given=value, fix=did_you_mean(key, known)
            )
        elif key != "name":
            translated[names[key]] = value
    return config.replace(
        pruner=Component(name=pruner, **translated), runner=RunnerConfig(name=config.runner.name, **options)
    )


def _check_length(config: Config, steps: object, where: str) -> None:
    """Check that what ends a trial agrees with a scheduler that leaves it to the trial."""
    if config.objective is not None:
        raise ConfigError("an objective decides itself how long it trains", where=where, given=steps, fix="drop it")
    if steps != config.trial.epochs:
        raise ConfigError(
            "another length than trial.epochs",
            where=where,
            given=steps,
            expected=str(config.trial.epochs),
            fix="drop it, or set trial.epochs",
        )


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


def read_sampler(
    config: Config, space: SearchSpace, *, resumed_at: int = 0, predictor: Predictor | None = None
) -> BaseSampler:
    """Build the sampler, with the predictor of the config's hypernetwork once it is trained.

    Raises:
        ConfigError: The name or an option is unknown or wrong.
    """
    add_import_folder(source_folder(config))
    check_hypernetwork(config, space)
    options = dict(config.sampler.options)
    if wants_hypernetwork(config):
        options.pop("hypernetwork", None)
        options["warm_start" if "warm_start" in options else "predict"] = predictor
    return as_sampler(
        load("sampler", config.sampler.name, where="sampler"),
        space,
        seed=config.study.seed,
        resumed_at=resumed_at,
        options=options,
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


def make_objective(config: Config, space: SearchSpace, *, hypernetwork: Path | None = None) -> MakeObjective:
    """Return the recipe for what the trials run; ``hypernetwork`` is the file of the one that they may begin from."""
    if config.objective is not None:
        return UserObjective(config.objective, source_folder(config))
    add_import_folder(source_folder(config))
    if config.tasks is not None:
        return ManyTasksObjective(config, space)
    sampler = load("sampler", config.sampler.name, where="sampler")
    self_tuning = bool(getattr(sampler, "self_tuning", False))
    begun = hypernetwork if config.trial.init_from_hypernet else None
    return FamilyObjective(config, space, self_tuning=self_tuning, hypernetwork=begun)
