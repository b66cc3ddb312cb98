from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from scipy import stats

from hypertune.errors import ConfigError
from hypertune.records import TUNED
from hypertune.samplers._expected_improvement import most_promising, normal_scores
from hypertune.samplers._history import History
from hypertune.samplers.contract import as_sampler
from hypertune.samplers.stn import SAMPLER, STNSampler
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "width": {"type": "int", "low": 8, "high": 64},
        "dropout": {"type": "float", "low": 0.0, "high": 0.9, "self_tune": True},
        "noise": {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True},
        "kind": {"choices": ["a", "b"]},
    }
)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def tuning_objective(trial: optuna.Trial) -> float:
    """Tuning moves half of the way to the optimum of the inner ones; the outer ones have an optimum of their own."""
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    width = trial.suggest_int("width", 8, 64)
    dropout = trial.suggest_float("dropout", 0.0, 0.9)
    noise = trial.suggest_float("noise", 0.0, 1.0)
    trial.suggest_categorical("kind", ["a", "b"])
    tuned = {"dropout": (dropout + 0.6) / 2, "noise": (noise + 0.2) / 2}
    trial.set_user_attr(TUNED, tuned)
    outer = (np.log10(lr) + 2.2) ** 2 + ((width - 20) / 40) ** 2
    return float(outer + 4 * (tuned["dropout"] - 0.6) ** 2 + 4 * (tuned["noise"] - 0.2) ** 2)


def search(sampler: BaseSampler, n: int, objective: Callable[[optuna.Trial], float] = tuning_objective, **kind: Any):
    study = optuna.create_study(sampler=sampler, **kind)
    study.optimize(objective, n_trials=n)
    return study


def test_the_first_trial_is_the_centre_and_starts_tuning_in_the_middle():
    first = search(STNSampler(SPACE, seed=3), 1).trials[0].params
    assert first["lr"] == pytest.approx(10**-2.5)
    assert first["width"] == 36
    assert first["dropout"] == pytest.approx(0.45 * 0.9)
    assert first["noise"] == pytest.approx(0.45)


def test_later_trials_start_where_good_ones_ended():
    studies = [search(STNSampler(SPACE, seed=seed, explore=0.0, follow=1.0), 16) for seed in range(3)]
    late = [trial.params for study in studies for trial in study.trials[10:]]
    assert np.mean([abs(params["dropout"] - 0.6) for params in late]) < 0.12
    assert np.mean([abs(params["noise"] - 0.2) for params in late]) < 0.12


def test_how_far_a_start_follows_is_an_option():
    proposals = [STNSampler(SPACE, seed=0, explore=0.0, follow=share).propose(history(20), 20) for share in (0, 0.5, 1)]
    stays, half, follows = (proposal[2:] for proposal in proposals)
    assert half == pytest.approx((stays + follows) / 2)
    assert np.linalg.norm(follows - 0.7) < np.linalg.norm(stays - 0.7)


def test_it_finds_good_outer_values_sooner_than_chance():
    ours = [search(STNSampler(SPACE, seed=seed), 12).best_value for seed in range(16)]
    chance = [search(RandomSampler(seed=seed), 12).best_value for seed in range(16)]
    assert np.median(ours) < 0.5 * np.median(chance)


def test_without_tuning_inside_it_is_an_ordinary_good_sampler_and_says_so_once(caplog):
    def plain(trial: optuna.Trial) -> float:
        x = [trial.suggest_float(name, 0.0, 1.0) for name in "abcd"]
        return float(sum((value - 0.3) ** 2 for value in x))

    space = {name: FloatDistribution(0.0, 1.0) for name in "abcd"}
    with caplog.at_level(logging.WARNING):
        ours = [search(STNSampler(space, self_tuned=["a"], seed=seed), 30, plain).best_value for seed in range(3)]
    assert sum("searches all hyperparameters over trials" in record.message for record in caplog.records) == 3
    chance = [search(RandomSampler(seed=seed), 30, plain).best_value for seed in range(3)]
    assert max(ours) < min(chance)


def history(n: int, pending: list[list[float]] | None = None, seed: int = 0) -> History:
    rng = np.random.default_rng(seed)
    x = rng.random((n, 4))
    ended = x.copy()
    ended[:, 2:] = (x[:, 2:] + 0.7) / 2
    y = ((x[:, :2] - 0.4) ** 2).sum(axis=1) + ((ended[:, 2:] - 0.7) ** 2).sum(axis=1)
    names = ("lr", "width", "dropout", "noise")
    return History(names, x, ended, np.ones(n, dtype=bool), y, np.array(pending or []).reshape(-1, 4))


def test_a_proposal_is_a_function_of_history_number_and_seed():
    sampler = STNSampler(SPACE, seed=5)
    first = sampler.propose(history(8), 8)
    sampler.propose(history(3), 3)
    assert np.array_equal(first, sampler.propose(history(8), 8))
    assert np.array_equal(first, STNSampler(SPACE, seed=5).propose(history(8), 8))
    assert not np.array_equal(first, STNSampler(SPACE, seed=6).propose(history(8), 8))
    assert not np.array_equal(first, sampler.propose(history(8), 9))


def test_a_resumed_study_goes_on_as_an_uninterrupted_one():
    whole = search(STNSampler(SPACE, seed=1, independent_sampler=RandomSampler(seed=0)), 9)
    half = search(STNSampler(SPACE, seed=1, independent_sampler=RandomSampler(seed=0)), 5)
    half.sampler = as_sampler(SAMPLER, SPACE, seed=1, resumed_at=5, options={})
    half.sampler._independent = RandomSampler(seed=0)
    half.optimize(tuning_objective, n_trials=4)
    numeric = [{k: v for k, v in trial.params.items() if k != "kind"} for trial in whole.trials]
    assert numeric == [{k: v for k, v in trial.params.items() if k != "kind"} for trial in half.trials]


def test_pending_trials_are_avoided():
    sampler = STNSampler(SPACE, seed=2)
    alone = sampler.propose(history(8), 8)
    beside = sampler.propose(history(8, pending=[alone.tolist()]), 8)
    assert np.linalg.norm(beside[:2] - alone[:2]) > 0.05


def test_directions_are_symmetrical():
    def negated(trial: optuna.Trial) -> float:
        return -tuning_objective(trial)

    low = search(STNSampler(SPACE, seed=4), 8)
    high = search(STNSampler(SPACE, seed=4), 8, negated, direction="maximize")
    assert [trial.params for trial in low.trials] == [trial.params for trial in high.trials]


def _trial(state: TrialState, value: float, **attributes: Any):
    params = {"lr": 0.01, "dropout": 0.4}
    distributions = {"lr": SPACE.distributions["lr"], "dropout": SPACE.distributions["dropout"]}
    pruned = state is TrialState.PRUNED
    return create_trial(
        state=state,
        params=params,
        distributions=distributions,
        value=None if pruned else value,
        intermediate_values={0: 9.0, 3: value} if pruned else {},
        user_attrs=attributes,
    )


def test_pruned_and_complete_trials_teach_the_same():
    distributions = {name: SPACE.distributions[name] for name in ("lr", "dropout")}
    read = [
        History.of(
            [_trial(state, 0.5, **{TUNED: {"dropout": 0.2}})],
            SearchSpace(distributions),
            StudyDirection.MINIMIZE,
            current=9,
        )
        for state in (TrialState.COMPLETE, TrialState.PRUNED)
    ]
    for attribute in ("x", "x_tuned", "y", "moved"):
        assert np.array_equal(getattr(read[0], attribute), getattr(read[1], attribute))
    assert read[0].x_tuned[0] == pytest.approx([2 / 3, 0.2 / 0.9])
    assert read[0].y[0] == 0.5


def test_tuned_values_outside_the_range_and_trials_of_other_spaces_do_no_harm():
    other = create_trial(params={"z": 1.0}, distributions={"z": FloatDistribution(0, 2)}, value=0.0)
    wild = _trial(TrialState.COMPLETE, 0.5, **{TUNED: {"dropout": 7.0, "unknown": 1.0}})
    distributions = {name: SPACE.distributions[name] for name in ("lr", "dropout")}
    read = History.of([other, wild], SearchSpace(distributions), StudyDirection.MINIMIZE, current=9)
    assert len(read) == 1
    assert read.x_tuned[0, 1] == 1.0


def test_normal_scores_are_quantiles_of_mean_ranks():
    y = np.array([3.0, 1.0, 1.0, np.inf, -2.0, np.inf, 0.5, 1.0])
    np.testing.assert_allclose(normal_scores(y), stats.norm.ppf((stats.rankdata(y) - 0.5) / len(y)))


def test_values_that_are_not_finite_rank_last():
    assert np.argmax(normal_scores(np.array([0.1, np.inf, 0.2]))) == 1
    x = np.random.default_rng(0).random((12, 2))
    y = np.where(x[:, 0] > 0.5, np.inf, x[:, 1])
    assert most_promising(x, y, np.empty((0, 2)), seed=0)[0] < 0.6


def test_many_trials_cost_little():
    x = np.random.default_rng(0).random((1000, 3))
    import time

    begun = time.process_time()
    most_promising(x, ((x - 0.3) ** 2).sum(axis=1), np.empty((0, 3)), seed=0)
    assert time.process_time() - begun < 5.0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("n_startup", 0),
        ("n_startup", 1.5),
        ("start", 1.2),
        ("start", None),
        ("explore", -0.1),
        ("follow", 2),
        ("self_tuned", ["no"]),
    ],
)
def test_a_wrong_option_is_named(option, value):
    with pytest.raises(ConfigError) as caught:
        as_sampler(SAMPLER, SPACE, seed=0, resumed_at=0, options={option: value})
    assert caught.value.where == f"sampler.{option}"


def test_an_unknown_option_is_named():
    with pytest.raises(ConfigError, match="did you mean 'explore'"):
        as_sampler(SAMPLER, SPACE, seed=0, resumed_at=0, options={"explor": 0.1})


def test_several_objectives_are_refused():
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=STNSampler(SPACE, seed=0))
    with pytest.raises(ValueError, match="single objective"):
        study.optimize(lambda trial: (trial.suggest_float("lr", 1e-4, 1e-1, log=True), 0.0), n_trials=1)


def test_a_space_of_categories_alone_works():
    space = {"kind": CategoricalDistribution(["a", "b"])}
    study = search(
        STNSampler(space, seed=0), 4, lambda trial: float(trial.suggest_categorical("kind", ["a", "b"]) == "a")
    )
    assert len(study.trials) == 4


def test_the_public_name_loads_no_training_library():
    code = (
        "import sys, hypertune.samplers; hypertune.samplers.STNSampler;"
        "print(sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
