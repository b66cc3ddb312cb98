"""Cells of methods that tune inside a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.pruners import BasePruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler

from comparison.peers import PEERS, Method
from comparison.study import search, trial_seed
from comparison.tasks import BenchmarkTask
from comparison.trajectory import Point, Trajectory
from hypertune.records import Assignment, Params, TrialResult
from hypertune.samplers.stn import STNSampler
from hypertune.training.fit import fit
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.trial import Diverged, Trial, TrialPruned

__all__ = ["ABLATIONS", "plain_single", "self_tuning_cell", "self_tuning_study", "stn", "stn_single", "tpe_long"]

_SINGLE = 2  # full trials' epochs in the single run: a tenth of a peer's budget
_LONG = 4  # full trials' epochs in a trial of the study
_START = 0.45


def self_tuning_cell(
    benchmark: BenchmarkTask, seed: int, budget: int, folder: Path, *, self_tuning: Any, cautious: bool = False
) -> list[Point]:
    """Train one self-tuning trial, twice as long as a full trial.

    What it tunes starts in the middle of its range, as `STNSampler` starts its first trial; the rest is the task's
    start, which every peer gets as its first trial.

    Args:
        benchmark: The task.
        seed: Seed of the data split and of the trial.
        budget: Epochs that a peer may spend; the trial stays within them.
        folder: A folder for the trial's files.
        self_tuning: The trial's self-tuning settings.
        cautious: Whether also what it tunes starts at the task's start.
    """
    trajectory = Trajectory(min(budget, _SINGLE * benchmark.epochs))
    start = _middle(benchmark) if self_tuning and not cautious else {}
    params = {**benchmark.fixed, **benchmark.start, **start}
    trial = Trial(Assignment(0, params, trial_seed(seed, 0), str(folder)), lambda report: False)
    settings = benchmark.settings(trajectory.budget, self_tuning=self_tuning)
    try:
        result = fit(trial, benchmark.family, benchmark.data(seed), settings, space=benchmark.space)
    except (Diverged, TrialPruned) as failed:
        trajectory.pay(max(1, failed.cost.epochs))
    else:
        trajectory.pay(result.cost.epochs, result.value, result.metrics["test/loss"])
    return trajectory.finish()


def self_tuning_study(
    benchmark: BenchmarkTask,
    seed: int,
    budget: int,
    folder: Path,
    *,
    sampler: BaseSampler,
    self_tuning: Any,
    pruner: BasePruner | None = None,
) -> list[Point]:
    """Run a study of self-tuning trials with the epochs that peers have; see `study.search`."""
    train = partial(fit, space=benchmark.space)
    return search(
        benchmark,
        seed,
        budget,
        folder,
        sampler=sampler,
        pruner=pruner,
        train=train,
        first=_middle(benchmark),
        self_tuning=self_tuning,
    )


def stn(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    """Search with `STNSampler` around few, long self-tuning trials.

    Regularization that adapts keeps a longer trial from overfitting, and with fewer hyperparameters left to search
    fewer trials are needed. `tpe_long` shows what trials of this length are worth by themselves.
    """
    return _study(benchmark, seed, budget, folder, length=_LONG)


def tpe_long(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    """Search with TPE over trials as long as those of `stn`, at the same total."""
    return PEERS["tpe"](_lengthened(benchmark, _LONG), seed, budget, folder)


def stn_single(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    """Train one self-tuning trial with the default settings."""
    return self_tuning_cell(benchmark, seed, budget, folder, self_tuning=SelfTuningSettings())


def plain_single(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path) -> list[Point]:
    """Train the task's start as long as the single self-tuning trial: what its length alone is worth."""
    return self_tuning_cell(benchmark, seed, budget, folder, self_tuning=None)


def _study(
    benchmark: BenchmarkTask, seed: int, budget: int, folder: Path, *, length: int, halving: bool = False
) -> list[Point]:
    """Run a study of trials ``length`` times as long as a peer's full ones."""
    long = _lengthened(benchmark, length)
    # Half of the trials end at a quarter of their length: self-tuned ones start slowly.
    patience = max(1, long.epochs // 4)
    pruner = SuccessiveHalvingPruner(min_resource=patience, reduction_factor=2) if halving else None
    sampler, settings = STNSampler(benchmark.space, seed=seed), SelfTuningSettings()
    return self_tuning_study(long, seed, budget, folder, sampler=sampler, self_tuning=settings, pruner=pruner)


def _lengthened(benchmark: BenchmarkTask, length: int) -> BenchmarkTask:
    return replace(benchmark, epochs=length * benchmark.epochs)


def _repeated(benchmark: BenchmarkTask, seed: int, budget: int, folder: Path, *, replay: bool) -> list[Point]:
    """Train plainly with what a self-tuning trial found: along its schedule, or at its final values throughout.

    The section 4.2 of MacKay et al. 2019 (arXiv 1903.03088) that asks where the gain comes from. Both trainings are
    paid for; the result is that of the second.
    """
    trajectory = Trajectory(min(budget, 2 * _SINGLE * benchmark.epochs))
    data, epochs = benchmark.data(seed), trajectory.budget // 2
    params = {**benchmark.fixed, **benchmark.start, **_middle(benchmark)}

    def train(name: str, params: Params, self_tuning: SelfTuningSettings | None) -> TrialResult:
        (folder / name).mkdir()
        trial = Trial(Assignment(0, params, trial_seed(seed, 0), str(folder / name)), lambda report: False)
        settings = benchmark.settings(epochs, self_tuning=self_tuning)
        return fit(trial, benchmark.family, data, settings, space=benchmark.space)

    tuned = train("tuned", params, SelfTuningSettings())
    trajectory.pay(tuned.cost.epochs)
    schedule = SelfTuningSettings(replay=str(folder / "tuned" / "schedule.csv")) if replay else None
    again = train("again", {**params, **tuned.tuned}, schedule)
    trajectory.pay(again.cost.epochs, again.value, again.metrics["test/loss"])
    return trajectory.finish()


def _single(**options: Any) -> Method:
    cautious = options.pop("cautious", False)
    return partial(self_tuning_cell, self_tuning=SelfTuningSettings(**options), cautious=cautious)


ABLATIONS: Mapping[str, Method] = {
    "stn-length-1": partial(_study, length=1),
    "stn-length-2": partial(_study, length=2),
    "stn-length-20": partial(_study, length=20),  # all of the budget in one trial
    "stn-halving": partial(_study, length=_LONG, halving=True),
    "replay-schedule": partial(_repeated, replay=True),
    "replay-final": partial(_repeated, replay=False),
    "single-cautious": _single(cautious=True),
    "single-rank-1": _single(rank=1),
    "single-batch-draw": _single(per_example=False),
    "single-delta": _single(algorithm="delta_stn"),
    "single-delta-curved": _single(algorithm="delta_stn", linearize=False),
}
"""What the defaults were chosen against: how a budget is cut into trials; start, response and algorithm of a trial."""


def _middle(benchmark: BenchmarkTask) -> dict[str, Any]:
    space = benchmark.space
    middle = space.decode([_START] * len(space))
    return {name: middle[name] for name in space.names if name in space.self_tuned}
