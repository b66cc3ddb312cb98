from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from ray.tune.schedulers import FIFOScheduler

from hypertune.errors import ConfigError, TaskError
from hypertune.ray import DataDrivenSearch, HyperTuneSearch, PruningScheduler
from hypertune.samplers import DataDrivenSampler, RacingPruner

X = {"x": FloatDistribution(0.0, 1.0)}
TASKS = 300
# The same tasks in the same order for every candidate.
OFFSETS = np.random.default_rng(0).uniform(-0.1, 0.1, TASKS)
NOISE = np.random.default_rng(1).uniform(0.0, 0.2, TASKS)


def utility(x, task):
    return float(np.clip(1 - abs(x - 0.4 - OFFSETS[task]) - NOISE[task], 0, 1))


def make(**options):
    return DataDrivenSearch(X, "utility", "max", seed=0, **{"candidates": 8, "refinements": 0, **options})


def race(search, scheduler, tasks=TASKS):
    """Run all candidates one after the other as Ray runs them beside a scheduler; returns how many tasks each saw."""
    seen = []
    for number in range(100):
        trial = SimpleNamespace(trial_id=f"id{number}")
        config = search.suggest(trial.trial_id)
        if config == search.FINISHED:
            break
        for task in range(tasks):
            result = {"utility": utility(config["x"], task), "training_iteration": task + 1}
            if scheduler.on_trial_result(None, trial, result) == FIFOScheduler.STOP:
                break
            search.on_trial_result(trial.trial_id, result)
        seen.append(task + 1)
        search.on_trial_complete(trial.trial_id, {**result, "done": True})
    return seen


def test_the_race_is_the_one_that_optuna_runs():
    study = optuna.create_study(
        sampler=DataDrivenSampler(X, seed=0, candidates=8, refinements=0), pruner=RacingPruner(), direction="maximize"
    )
    seen = []

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 1.0)
        values = []
        for task in range(TASKS):
            values.append(utility(x, task))
            trial.report(values[-1], task + 1)
            if trial.should_prune():
                seen.append(task + 1)
                raise optuna.TrialPruned
        seen.append(TASKS)
        return float(np.mean(values))

    study.optimize(objective, n_trials=100)
    search = make()
    assert race(search, PruningScheduler(search)) == seen
    assert [t.state for t in search.study.trials] == [t.state for t in study.trials]
    assert sum(t.state is TrialState.PRUNED for t in study.trials) >= 3
    assert search.study.best_trial.number == study.best_trial.number
    assert search.study.best_value == pytest.approx(study.best_value, abs=1e-12)
    sampler = search.study.sampler
    assert sampler.survivors(search.study) == study.sampler.survivors(study)
    assert sampler.certificate(search.study) == study.sampler.certificate(study)


def test_the_value_is_the_mean_over_the_tasks_that_did_not_fail():
    search = make()
    search.suggest("a")
    for step, value in enumerate((0.2, math.nan, 0.6, 0.1), start=1):
        search.on_trial_result("a", {"utility": value, "training_iteration": step})
    search.on_trial_complete("a", {"utility": 0.1, "training_iteration": 4})
    assert search.study.best_value == pytest.approx(0.3, abs=1e-12)
    assert search.study.sampler.failed_tasks(search.study) == {2: (0,)}


def test_a_last_task_that_fails_does_not_fail_the_candidate():
    search = make()
    search.suggest("a")
    search.on_trial_result("a", {"utility": 0.5, "training_iteration": 1})
    search.on_trial_complete("a", {"utility": math.nan, "training_iteration": 2})
    assert search.study.best_value == 0.5


def test_without_the_scheduler_nobody_is_stopped_and_the_design_ends_the_run():
    search = make()
    seen = race(search, FIFOScheduler(), tasks=20)
    assert seen == [20] * 8
    assert {t.state for t in search.study.trials} == {TrialState.COMPLETE}


def test_what_is_no_utility_is_an_error():
    search = make()
    scheduler = PruningScheduler(search)
    search.suggest("a")
    with pytest.raises(TaskError, match=r"utility: lies outside \[0, 1\]; given 7"):
        scheduler.on_trial_result(None, SimpleNamespace(trial_id="a"), {"utility": 7.0, "training_iteration": 1})


def test_any_pruner_stops_trials():
    search = HyperTuneSearch("random", X, "loss", "min", seed=0)
    scheduler = PruningScheduler(search, optuna.pruners.ThresholdPruner(upper=1.0, n_warmup_steps=2))
    search.suggest("a")
    trial = SimpleNamespace(trial_id="a")
    decisions = [scheduler.on_trial_result(None, trial, {"loss": 2.0, "training_iteration": step}) for step in (1, 2)]
    assert decisions == ["CONTINUE", "STOP"]
    search.on_trial_complete("a", {"loss": 2.0, "training_iteration": 2, "done": True})
    assert search.study.trials[0].state is TrialState.PRUNED
    assert search.study.trials[0].value == 2.0
    assert scheduler.on_trial_result(None, SimpleNamespace(trial_id="nobody"), {"loss": 9.0}) == "CONTINUE"
    assert "ThresholdPruner" in scheduler.debug_string()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((object(),), "search: not a search algorithm of hypertune"),
        ((HyperTuneSearch(), "median"), "pruner: not a pruner"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PruningScheduler(*arguments)
