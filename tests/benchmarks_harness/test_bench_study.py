from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from comparison.study import search, trial_seed
from comparison.tasks import TASKS
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler

from hypertune.records import TUNED, Cost, TrialResult
from hypertune.training.trial import Diverged, TrialPruned

TASK = replace(TASKS["diabetes-mlp"], epochs=4)


class StopsAtTwo(BasePruner):
    def prune(self, study, trial):
        return trial.last_step == 2


class Seeing(RandomSampler):
    """Remembers what a sampler is told of finished trials."""

    def __init__(self):
        super().__init__(seed=0)
        self.told = []

    def after_trial(self, study, trial, state, values):
        self.told.append((state, values, trial.user_attrs))


def training(outcomes):
    """Return a training function with scripted outcomes, and the calls it got."""
    calls, left = [], list(outcomes)

    def train(trial, family, task, settings):
        calls.append(SimpleNamespace(params=trial.params, epochs=settings.epochs, seed=trial.seed))
        assert trial.folder.is_dir()
        outcome = left.pop(0) if left else (9.0, 9.0)
        if isinstance(outcome, Exception):
            raise outcome
        value, test = outcome
        return TrialResult(value, {"test/loss": test}, {"dropout_1": 0.5}, Cost(settings.epochs))

    return train, calls


def test_spends_the_budget_and_no_more(tmp_path):
    train, calls = training([(0.5, 0.7), (0.6, 0.1), (0.3, 0.8)])
    sampler = Seeing()
    points = search(TASK, 3, 10, tmp_path, sampler=sampler, train=train)
    assert [call.epochs for call in calls] == [4, 4, 2]
    assert [call.seed for call in calls] == [trial_seed(3, number) for number in range(3)]
    assert len({call.seed for call in calls}) == 3
    assert calls[0].params == {**TASK.fixed, **TASK.start}
    assert calls[1].params != calls[2].params
    assert [(point.epochs, point.value, point.test) for point in points] == [
        (4, 0.5, 0.7),
        (10, 0.3, 0.8),
        (10, 0.3, 0.8),
    ]
    assert all(call.params["optimizer"] == "sgd" and 1e-3 <= call.params["lr"] <= 0.1 for call in calls)
    assert sampler.told[0] == (optuna.trial.TrialState.COMPLETE, [0.5], {TUNED: {"dropout_1": 0.5}})
    assert list(tmp_path.iterdir()) == []


def test_pruned_and_diverged_trials_cost_what_they_cost(tmp_path):
    failure = Diverged("it grew without bound", where="trial")
    failure.cost = Cost(epochs=0)
    train, calls = training([TrialPruned("bad", Cost(epochs=3)), failure, (0.5, 0.7)])
    sampler = Seeing()
    points = search(TASK, 0, 8, tmp_path, sampler=sampler, train=train)
    assert [call.epochs for call in calls] == [4, 4, 4]
    assert [point.epochs for point in points] == [8, 8]
    assert [state.name for state, *_ in sampler.told] == ["PRUNED", "FAIL", "COMPLETE"]


def test_a_search_without_any_result_ends(tmp_path):
    train, _ = training([TrialPruned()] * 5)
    (end,) = search(TASK, 0, 5, tmp_path, sampler=RandomSampler(seed=0), train=train)
    assert end.epochs == 5
    assert math.isnan(end.value)


def test_the_pruner_sees_every_epoch_from_1(tmp_path):
    points = search(TASK, 0, 7, tmp_path, sampler=RandomSampler(seed=1), pruner=StopsAtTwo())
    # Trials of two epochs each, pruned, until one epoch is left, which is too short to be pruned.
    assert points[-1].epochs == 7
    assert len(points) == 2
    assert math.isfinite(points[-1].test)


def test_the_same_seed_gives_the_same_search(tmp_path):
    def losses(seed, folder):
        points = search(TASK, seed, 10, tmp_path / folder, sampler=RandomSampler(seed=seed))
        return [(point.epochs, point.value, point.test) for point in points]

    first = losses(0, "a")
    assert losses(0, "b") == first
    assert losses(1, "c") != first


@pytest.mark.parametrize("name", TASKS)
def test_tasks_agree_with_themselves(name):
    task = TASKS[name]
    data = task.data(0)
    assert set(task.start) == set(task.space.names)
    task.space.validate(task.start)
    assert not set(task.fixed) & set(task.space.names)
    assert "lr" not in task.space.self_tuned
    assert len(data.test) >= 100
    assert not data.train.x.equal(task.data(1).train.x)
    model = task.family.build({**task.fixed, **task.start}, data.spec)
    assert model(data.train.x[:2]).shape == (2, data.spec.output_size)
