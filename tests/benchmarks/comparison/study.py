"""An Optuna study in this process, trial by trial, until its epochs are spent: what most cells are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from numpy.random import SeedSequence
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from comparison.tasks import BenchmarkTask
from comparison.trajectory import Point, Trajectory
from hypertune.records import TUNED, Assignment, Params, Report
from hypertune.tasks.contract import Task
from hypertune.training.fit import fit
from hypertune.training.trial import Diverged, Trial, TrialPruned

__all__ = ["search", "trial_seed"]


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial; each trial of a study has its own."""
    return int(SeedSequence([seed, number]).generate_state(1)[0])


def search(
    benchmark: BenchmarkTask,
    seed: int,
    budget: int,
    folder: Path,
    *,
    sampler: BaseSampler,
    pruner: BasePruner | None = None,
    train: Callable[..., Any] = fit,
    first: Params | None = None,
    **settings: Any,
) -> list[Point]:
    """Run a study until the budget is spent; the last trial gets the epochs that are left.

    The first trial is the task's cautious start, so that no method is ahead by a better first guess.

    Args:
        benchmark: The task.
        seed: Seed of the data split and of the trials.
        budget: Epochs in all.
        folder: A folder for the trials' files; they are removed when a trial ends.
        sampler: Proposes the trials.
        pruner: Stops trials early; none by default. It is told of epochs counted from 1.
        train: ``train(trial, family, task, settings)`` -> `TrialResult`.
        first: Replaces values of the first trial.
        settings: Further training settings.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task: Task = benchmark.data(seed)
    # Hyperband draws a trial's bracket from the study's name.
    study = optuna.create_study(study_name=f"{benchmark.name}-{seed}", sampler=sampler, pruner=pruner or NopPruner())
    study.enqueue_trial({**benchmark.start, **(first or {})})
    trajectory = Trajectory(budget)
    while trajectory.left:
        asked = study.ask(dict(benchmark.space.distributions))
        where = folder / str(asked.number)
        where.mkdir(parents=True)
        epochs = min(benchmark.epochs, trajectory.left)
        params = {**benchmark.fixed, **asked.params}
        trial = Trial(Assignment(asked.number, params, trial_seed(seed, asked.number), str(where)), _judge(asked))
        try:
            result = train(trial, benchmark.family, task, benchmark.settings(epochs, **settings))
        except TrialPruned as pruned:
            study.tell(asked, state=TrialState.PRUNED)
            trajectory.pay(max(1, pruned.cost.epochs))
        except Diverged as failed:
            # A trial that dies in its first epoch has paid for it, though it finished none.
            study.tell(asked, state=TrialState.FAIL)
            trajectory.pay(max(1, failed.cost.epochs))
        else:
            if result.tuned:
                asked.set_user_attr(TUNED, dict(result.tuned))
            study.tell(asked, result.value)
            trajectory.pay(result.cost.epochs, result.value, result.metrics["test/loss"])
        finally:
            shutil.rmtree(where, ignore_errors=True)
    return trajectory.finish()


def _judge(asked: optuna.Trial) -> Callable[[Report], bool]:
    def send(report: Report) -> bool:
        asked.report(report.metrics["val/loss"], report.step + 1)
        return asked.should_prune()

    return send
