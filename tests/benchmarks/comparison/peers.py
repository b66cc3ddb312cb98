"""The methods we compare with, each with its library's settings where these fit the budget."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import HyperbandPruner
from optuna.samplers import CmaEsSampler, GPSampler, RandomSampler, TPESampler

from comparison.population import population_based_training
from comparison.study import search
from comparison.tasks import BenchmarkTask
from comparison.trajectory import Point

__all__ = ["PEERS", "Method"]

Method = Callable[[BenchmarkTask, int, int, Path], list[Point]]
"""``method(task, seed, budget, folder)`` -> the incumbent's trajectory; ``budget`` counts epochs."""

# An Optuna sampler and the data split must not share a seed's stream.
_SAMPLER_SEED = 1_000
# The default of 10 would leave half of a budget of 20 trials to chance. On diabetes-mlp, six seeds, 5 gave the better
# mean validation value with each of the three searches that it applies to.
_STARTUP = 5


def _random(task: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    return search(task, seed, budget, folder, sampler=RandomSampler(seed=_SAMPLER_SEED + seed))


def _tpe(task: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    return search(task, seed, budget, folder, sampler=_tpe_sampler(seed))


def _tpe_hyperband(task: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    # Three brackets: TPE learns within a bracket, so that with more of them it would hardly leave its random start.
    pruner = HyperbandPruner(min_resource=max(1, task.epochs // 9), max_resource=task.epochs, reduction_factor=3)
    return search(task, seed, budget, folder, sampler=_tpe_sampler(seed), pruner=pruner)


def _gp(task: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = GPSampler(seed=_SAMPLER_SEED + seed, n_startup_trials=_STARTUP)
    return search(task, seed, budget, folder, sampler=sampler)


def _cmaes(task: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    # No hyperparameter is categorical, so nothing falls to the independent sampler after the first trial.
    sampler = CmaEsSampler(seed=_SAMPLER_SEED + seed, warn_independent_sampling=False)
    return search(task, seed, budget, folder, sampler=sampler)


def _tpe_sampler(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(multivariate=True, seed=_SAMPLER_SEED + seed, n_startup_trials=_STARTUP)


PEERS: dict[str, Method] = {
    "random": _random,
    "tpe": _tpe,
    "tpe-hyperband": _tpe_hyperband,
    "gp": _gp,
    "cmaes": _cmaes,
    "pbt": population_based_training,
}
"""Method by name."""
