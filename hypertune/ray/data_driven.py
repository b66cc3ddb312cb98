"""One configuration for many tasks, as a search algorithm of Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from hypertune.ray._spaces import SpaceLike
from hypertune.ray.search import HyperTuneSearch

__all__ = ["DataDrivenSearch"]


class DataDrivenSearch(HyperTuneSearch):
    """`hypertune.samplers.DataDrivenSampler` in Ray Tune: a design of candidates, then refinements of the best.

    A trial is a candidate, an iteration is a task: the trainable goes through the tasks, the same ones in the same
    order in every trial, and reports the metric on each, a utility in [0, 1] (or give ``low`` and ``high``), NaN for a
    task that failed. The value of a trial is the mean over its tasks, not the last report, so the winner is
    ``search.study.best_trial`` and not Ray's ``get_best_result``.

    To race, add ``TuneConfig(scheduler=PruningScheduler(search))``: a candidate is stopped when one that has seen all
    tasks is shown to be better, with the guarantee of `hypertune.samplers.RacingPruner`. Ray's own schedulers compare
    last reports, which here are different tasks' luck. `hypertune.samplers.race_tasks`, which takes all candidates
    through the tasks side by side, needs fewer evaluations, and one caller that evaluates them all.

    Args:
        space: As in `HyperTuneSearch`.
        metric: As in `HyperTuneSearch`.
        mode: As in `HyperTuneSearch`.
        points_to_evaluate: As in `HyperTuneSearch`. They take the places of the first candidates, so nothing is
            certified when they were chosen by looking at the tasks.
        evaluated_rewards: As in `HyperTuneSearch`.
        seed: As in `HyperTuneSearch`.
        options: Options of `DataDrivenSampler`, such as ``candidates`` and ``delta``.

    Raises:
        ConfigError: An argument is wrong.
        SpaceError: The space is wrong.
    """

    def __init__(
        self,
        space: SpaceLike | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__("data_driven", space, metric, mode, points_to_evaluate, evaluated_rewards, seed, **options)

    def _final_value(self, trial: FrozenTrial, last: float) -> float:
        known = [value for value in trial.intermediate_values.values() if not math.isnan(value)]
        return sum(known) / len(known) if known else last
