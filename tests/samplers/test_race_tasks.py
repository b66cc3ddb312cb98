from __future__ import annotations

import time

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hypertune.bounds.betting import betting_lower
from hypertune.bounds.confidence_sequence import ConfidenceSequence
from hypertune.errors import ConfigError, TaskError
from hypertune.samplers import DataDrivenSampler, race_tasks


def study(candidates, direction="maximize", **options):
    space = {"k": CategoricalDistribution(list(range(candidates)))}
    sampler = DataDrivenSampler(space, seed=0, candidates=candidates, refinements=0, **options)
    return optuna.create_study(direction=direction, sampler=sampler)


def by_candidate(ran):
    return {trial.params["k"]: trial for trial in ran.trials}


def test_it_stops_each_candidate_when_a_paired_bound_says_so(utilities):
    table = utilities([0.7, 0.45, 0.5, 0.68], 120)
    ran = study(4)
    outcome = race_tasks(ran, lambda params, row: row[params["k"]], table)
    level = 0.05 / 12

    def refuted(loser, n, rivals):
        pairs = (table[:n, rivals] - table[:n, [loser]] + 1) / 2
        return bool((betting_lower(pairs, level) >= 0.5).any())

    trials = by_candidate(ran)
    for loser in (1, 2):
        seen = len(trials[loser].intermediate_values)
        assert trials[loser].state is TrialState.PRUNED
        assert refuted(loser, seen, [0, 3])
        assert not refuted(loser, seen - 1, [k for k in range(4) if k != loser])
    assert outcome.ended == "tasks"
    assert {ran.trials[number].params["k"] for number in outcome.survivors} == {0, 3}
    assert trials[0].value == pytest.approx(table[:, 0].mean())
    assert outcome.evaluations == sum(len(trial.intermediate_values) for trial in ran.trials)
    winner = trials[ran.trials[outcome.survivors[0]].params["k"]]
    sequence = ConfidenceSequence.start((), 0.05 / 4, sides="lower")
    for step in range(120):
        sequence = sequence.update(winner.intermediate_values[step])
    assert outcome.margin == pytest.approx(winner.value - float(sequence.lower))
    assert ran.best_trial.number == winner.number


def test_it_ends_when_one_is_left(utilities):
    taken = []

    def tasks():
        for row in utilities([0.9, 0.2, 0.3], 1000):
            taken.append(1)
            yield row

    outcome = race_tasks(study(3), lambda params, row: row[params["k"]], tasks())
    assert outcome.ended == "one candidate survives"
    assert outcome.tasks == len(taken) < 100  # no task is drawn for nothing


def test_it_ends_with_the_certificate_or_the_budget(utilities):
    table = np.repeat(utilities([0.5], 900), 2, axis=1)
    wide = race_tasks(study(2, epsilon=0.2), lambda params, row: row[params["k"]], table)
    close = race_tasks(study(2, epsilon=0.1), lambda params, row: row[params["k"]], table)
    assert wide.ended == close.ended == "certificate"
    assert wide.tasks < close.tasks < 900
    assert close.margin <= 0.1
    spent = race_tasks(study(2), lambda params, row: row[params["k"]], table, budget=25)
    assert (spent.ended, spent.evaluations, spent.tasks) == ("budget", 24, 12)


def test_minimizing_is_the_mirror_image(utilities):
    table = utilities([0.7, 0.4, 0.5], 100)
    up, down = study(3), study(3, "minimize", low=0.0, high=2.0)
    first = race_tasks(up, lambda params, row: row[params["k"]], table)
    second = race_tasks(down, lambda params, row: 2 - 2 * row[params["k"]], table)
    assert first.survivors == second.survivors
    assert first.evaluations == second.evaluations
    assert down.best_value == pytest.approx(2 - 2 * up.best_value)


def test_a_failed_task_is_left_out_for_all_and_recorded(utilities):
    table = utilities([0.6, 0.55], 40)

    def evaluate(params, item):
        step, row = item
        if step in (4, 30) and params["k"] == 1:
            raise RuntimeError("this sensor is broken")
        return row[params["k"]]

    ran = study(2)
    outcome = race_tasks(ran, evaluate, enumerate(table))
    assert outcome.failed == (4, 30)
    trials = by_candidate(ran)
    assert trials[0].value == pytest.approx(np.delete(table, [4, 30], axis=0)[:, 0].mean())
    assert trials[1].user_attrs["hypertune:failed_tasks"]["4"] == "RuntimeError: this sensor is broken"
    assert ran.sampler.failed_tasks(ran) == {4: (trials[1].number,), 30: (trials[1].number,)}


def test_a_candidate_that_fails_everywhere_takes_no_task_with_it(utilities):
    table = utilities([0.6, 0.55], 40)

    def evaluate(params, row):
        if params["k"] == 1:
            raise RuntimeError("diverged")
        return row[0]

    ran = study(2)
    outcome = race_tasks(ran, evaluate, table)
    assert by_candidate(ran)[1].state is TrialState.FAIL
    assert outcome.failed == (0, 1)  # at the third failure it was out
    assert by_candidate(ran)[0].state is TrialState.COMPLETE


def test_an_interrupted_race_evaluates_nothing_twice(utilities):
    table = utilities([0.8, 0.4, 0.5, 0.75], 100)
    whole = study(4)
    expected = race_tasks(whole, lambda params, row: row[params["k"]], table)
    calls: list[tuple[int, int]] = []

    def evaluate(params, item):
        step, row = item
        if len(calls) == 150:
            calls.append((-1, -1))
            raise KeyboardInterrupt
        calls.append((params["k"], step))
        return row[params["k"]]

    ran = study(4)
    with pytest.raises(KeyboardInterrupt):
        race_tasks(ran, evaluate, enumerate(table))
    outcome = race_tasks(ran, evaluate, enumerate(table))
    assert len(set(calls)) == len(calls)
    assert outcome.survivors == expected.survivors
    assert [trial.intermediate_values for trial in ran.trials] == [trial.intermediate_values for trial in whole.trials]
    assert [trial.state for trial in ran.trials] == [trial.state for trial in whole.trials]


def test_a_thousand_tasks_and_64_candidates_cost_little(utilities):
    table = utilities(np.linspace(0.4, 0.6, 64), 1000)
    space = {"k": IntDistribution(0, 63)}
    sampler = DataDrivenSampler(space, seed=0, candidates=64, refinements=0)
    ran = optuna.create_study(direction="maximize", sampler=sampler)
    begun = time.process_time()
    outcome = race_tasks(ran, lambda params, row: row[params["k"]], table)
    spent = time.process_time() - begun
    assert outcome.evaluations < 0.5 * 64_000
    print(f"{outcome.evaluations} evaluations, {spent:.2f} s with Optuna's own")
    assert spent < 10  # most of it is Optuna's storing of reports


def test_what_cannot_race():
    plain = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with pytest.raises(ConfigError, match="DataDrivenSampler"):
        race_tasks(plain, lambda params, task: 0.5, range(9))
    with pytest.raises(ConfigError, match="no candidates"):
        race_tasks(optuna.create_study(sampler=DataDrivenSampler()), lambda params, task: 0.5, range(9))
    with pytest.raises(TaskError, match="at least 2"):
        race_tasks(study(3), lambda params, task: 0.5, range(1))
    with pytest.raises(TaskError, match="low and high"):
        race_tasks(study(3), lambda params, task: 17.0, range(9))
    with pytest.raises(ConfigError, match="budget"):
        race_tasks(study(3), lambda params, task: 0.5, range(9), budget=0)
    ran = study(2)
    race_tasks(ran, lambda params, task: 0.5, range(3))
    with pytest.raises(ConfigError, match="raced already"):
        race_tasks(ran, lambda params, task: 0.5, range(3))
    with pytest.raises(TaskError, match=r"(?s)every candidate failed.*division"):
        race_tasks(study(2), lambda params, task: 1 / 0, range(9))


def test_several_hyperparameters():
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True)}
    ran = optuna.create_study(direction="maximize", sampler=DataDrivenSampler(space, seed=0, candidates=8))
    outcome = race_tasks(ran, lambda params, task: (params["x"] + task) / 2, np.linspace(0, 1, 60))
    assert ran.trials[outcome.survivors[0]].params["x"] == max(trial.params["x"] for trial in ran.trials)
