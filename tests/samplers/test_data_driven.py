from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from hypertune.bounds.betting import betting_lower
from hypertune.errors import BoundError, ConfigError, TaskError
from hypertune.samplers import DataDrivenSampler, RacingPruner

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(1e-3, 1, log=True)}


def study(sampler, pruner=None, direction="maximize"):
    return optuna.create_study(direction=direction, sampler=sampler, pruner=pruner or RacingPruner())


def objective(tasks=100, *, seed=0, noise=0.05):
    """Best at x = 0.7; tasks are easy or hard for everybody."""
    hardness = np.random.default_rng(seed).uniform(-0.2, 0.2, tasks)

    def run(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 1e-3, 1, log=True)
        rng = np.random.default_rng([seed, trial.number])
        values = []
        for step, hard in enumerate(hardness):
            values.append(0.75 - abs(x - 0.7) / 2 + hard + rng.uniform(-noise, noise))
            trial.report(float(np.clip(values[-1], 0, 1)), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(np.clip(values, 0, 1)))

    return run


def test_the_design_comes_first_and_depends_on_the_seed_alone():
    ran = study(DataDrivenSampler(SPACE, seed=3, candidates=8))
    ran.optimize(objective(), n_trials=8)
    asked = study(DataDrivenSampler(SPACE, seed=3, candidates=8), direction="minimize")
    for trial in ran.trials:
        assert asked.ask(SPACE).params == trial.params
    other = study(DataDrivenSampler(SPACE, seed=4, candidates=8)).ask(SPACE).params
    assert other != ran.trials[0].params
    xs = np.sort([trial.params["x"] for trial in ran.trials])
    assert np.array_equal((xs * 8).astype(int), np.arange(8))  # one in each eighth: low discrepancy


def test_refinement_closes_in_on_the_best():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=8))
    ran.optimize(objective(), n_trials=28)
    refined = [abs(trial.params["x"] - 0.7) for trial in ran.trials[8:]]
    # Half of the boxes around 0.7 is within 0.25 from the first on; uniform points would have a median of 0.21 or so.
    assert np.median(refined) < 0.12
    assert abs(ran.best_params["x"] - 0.7) < 0.04
    assert len({tuple(trial.params.values()) for trial in ran.trials}) == len(ran.trials)


def test_bad_candidates_cost_little_and_the_best_is_kept():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=16, refinements=0))
    ran.optimize(objective(150), n_trials=50)
    assert len(ran.trials) == 16  # then the study stopped by itself
    best = min(ran.trials, key=lambda trial: abs(trial.params["x"] - 0.7))
    assert best.number in ran.sampler.survivors(ran)
    worst = max(ran.trials[1:], key=lambda trial: abs(trial.params["x"] - 0.7))
    assert len(worst.intermediate_values) < 60


def test_a_stopped_candidate_is_estimated_on_the_tasks_it_shared():
    sampler = DataDrivenSampler(SPACE, seed=0, candidates=2)
    shared = study(sampler, optuna.pruners.NopPruner())
    for values in ([0.9, 0.9, 0.1, 0.1], [0.8, 0.8]):
        trial = shared.ask(SPACE)
        for step, value in enumerate(values):
            trial.report(value, step)
        shared.tell(
            trial,
            np.mean(values) if len(values) == 4 else None,
            state=None if len(values) == 4 else optuna.trial.TrialState.PRUNED,
        )
    # 0.1 below the best on the easy tasks that both saw, not 0.3 above it.
    estimates = sampler._estimates(shared.trials, shared.direction)
    assert estimates == {0: pytest.approx(0.5), 1: pytest.approx(0.4)}


def test_a_small_space_is_used_up_once():
    space = {"kind": CategoricalDistribution(["a", "b", "c"]), "deep": CategoricalDistribution([False, True])}
    ran = study(DataDrivenSampler(space, seed=0, candidates=16))

    def run(trial):
        kind, deep = (
            trial.suggest_categorical("kind", ["a", "b", "c"]),
            trial.suggest_categorical("deep", [False, True]),
        )
        return "abc".index(kind) / 3 + deep / 10

    ran.optimize(run, n_trials=50)
    tried = [tuple(trial.params.values()) for trial in ran.trials]
    assert len(set(tried)) == 6
    assert len(tried) <= 7  # the stop is noticed when the next one is asked for
    assert ran.sampler.design_size == 6


def test_it_ends_when_one_candidate_survives():
    hardness = np.random.default_rng(0).uniform(-0.1, 0.1, 400)

    def run(trial):
        x = trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 1e-3, 1, log=True)
        for step, hard in enumerate(hardness):
            trial.report((0.8 if trial.number == 1 else 0.2 + x / 100) + hard, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 0.8 if trial.number == 1 else 0.2 + x / 100

    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=4))
    ran.optimize(run, n_trials=40)
    assert len(ran.trials) == 8  # the design and one batch around its best
    assert ran.sampler.survivors(ran) == [1]


def test_it_ends_when_the_certificate_is_tight_enough():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=4, refinements=0, epsilon=0.2))
    ran.optimize(objective(200), n_trials=40)
    assert len(ran.trials) == 4
    assert ran.sampler.certificate(ran).margin <= 0.2


def test_the_certificate_is_the_betting_bound_of_the_winner():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=4, refinements=0, delta=0.1), optuna.pruners.NopPruner())

    def run(trial):
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 1e-3, 1, log=True)
        for step in range(60):
            failed = (step, trial.number) in {(5, 0), (9, 1)}
            trial.report(math.nan if failed else 0.5 + trial.number / 10 + (step % 3) / 20, step)
        return 0.5 + trial.number / 10

    ran.optimize(run, n_trials=4)
    certificate = ran.sampler.certificate(ran)
    values = np.array([0.8 + (step % 3) / 20 for step in range(60) if step not in (5, 9)])
    assert certificate.n == 58
    assert certificate.candidates == 4
    assert certificate.value == pytest.approx(float(betting_lower(values, 0.1 / 4)), abs=1e-9)
    assert ran.sampler.failed_tasks(ran) == {5: (0,), 9: (1,)}


def test_certificates_hold_as_often_as_promised():
    # A finite pool of tasks with known means; the winner is chosen on the tasks that certify it.
    rng = np.random.default_rng(2)
    pool = rng.beta(2, 1, (400, 6))
    wrong = 0
    for repeat in range(300):
        draws = pool[rng.integers(0, 400, 40)]
        best = int(np.argmax(draws.mean(axis=0)))
        sampler = DataDrivenSampler(seed=repeat, candidates=6, refinements=0, delta=0.2)
        trials = [
            optuna.trial.create_trial(value=float(column.mean()), intermediate_values=dict(enumerate(column.tolist())))
            for column in draws.T
        ]
        certificate = sampler._certificate(trials, optuna.study.StudyDirection.MAXIMIZE)
        assert certificate.estimate == pytest.approx(draws[:, best].mean())
        wrong += certificate.value > pool[:, best].mean()
    assert wrong / 300 <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 300)


def test_a_refined_winner_is_not_certified_on_the_tasks_it_came_from():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=4))
    ran.optimize(objective(), n_trials=16)
    assert ran.best_trial.number >= 4
    with pytest.raises(BoundError, match=r"(?s)after looking at these tasks.*held-out"):
        ran.sampler.certificate(ran)


def test_one_task_certifies_nothing():
    ran = study(DataDrivenSampler(SPACE, seed=0, candidates=2, refinements=0))
    ran.optimize(objective(1), n_trials=2)
    with pytest.raises(TaskError, match="too few tasks"):
        ran.sampler.certificate(ran)


def test_a_resumed_study_goes_on_as_an_uninterrupted_one():
    whole = study(DataDrivenSampler(SPACE, seed=0, candidates=4))
    whole.optimize(objective(40), n_trials=14)
    first = study(DataDrivenSampler(SPACE, seed=0, candidates=4))
    first.optimize(objective(40), n_trials=6)
    second = study(DataDrivenSampler(SPACE, seed=0, candidates=4))
    second.add_trials(first.trials)
    second.optimize(objective(40), n_trials=8)
    assert [trial.params for trial in second.trials] == [trial.params for trial in whole.trials]


@pytest.mark.parametrize(
    "options",
    [
        {"candidates": 1},
        {"delta": 1.0},
        {"epsilon": 0},
        {"epsilon": 2},
        {"refinements": -1},
        {"batch": 0},
        {"high": -1},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        DataDrivenSampler(SPACE, **options)
