"""Optuna's pruners, and the race over tasks, as a scheduler of Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.pruners import BasePruner
from ray.tune.schedulers import FIFOScheduler

from hypertune.errors import ConfigError
from hypertune.ray.search import HyperTuneSearch
from hypertune.samplers.pruners.racing import RacingPruner

__all__ = ["PruningScheduler"]


class PruningScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray is untyped
    """Stops trials that a pruner would stop; they count as pruned in the study of the search algorithm.

    A scheduler and no stopping criterion (``RunConfig(stop=...)``), since Ray keeps a scheduler and its search
    algorithm together when a run is restored.

    Args:
        search: The run's search algorithm itself, also when it is wrapped in a ``ConcurrencyLimiter``.
        pruner: An Optuna pruner; None: the `RacingPruner` that goes with `DataDrivenSearch`.

    Raises:
        ConfigError: One of them is something else.
    """

    def __init__(self, search: HyperTuneSearch, pruner: BasePruner | None = None) -> None:
        super().__init__()
        if not isinstance(search, HyperTuneSearch):
            raise ConfigError(
                "not a search algorithm of hypertune", where="search", given=search, fix="give the one of TuneConfig"
            )
        if pruner is not None and not isinstance(pruner, BasePruner):
            raise ConfigError("not a pruner", where="pruner", given=pruner, expected="an instance of an Optuna pruner")
        self._search = search
        self._pruner = RacingPruner() if pruner is None else pruner

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Return whether a trial goes on; Ray calls this."""
        stop = self._search.should_prune(trial.trial_id, result, self._pruner)
        return str(FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE)

    def debug_string(self) -> str:
        """Return what Ray shows."""
        return f"Using {type(self._pruner).__name__}."
