"""Choices inside the model, failed trials, and tuned values that make no sense."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hypertune.records import TUNED
from hypertune.samplers._expected_improvement import most_promising
from hypertune.samplers._features import features
from hypertune.samplers._history import History
from hypertune.samplers.stn import STNSampler
from hypertune.space import SearchSpace

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
    "decay": FloatDistribution(1e-6, 1e-1, log=True),
    "shift": IntDistribution(0, 4),
}
START = {"lr": 0.01, "optimizer": "sgd", "decay": 1e-3, "shift": 2}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def trial(state: TrialState = TrialState.COMPLETE, *, tuned: Any = None, value: float = 0.5, **params: Any):
    return create_trial(
        state=state,
        params=START | params,
        distributions=SPACE,
        value=value if state is TrialState.COMPLETE else None,
        user_attrs={} if tuned is None else {TUNED: tuned},
    )


def read(trials: list[FrozenTrial]) -> History:
    return History.of(trials, SearchSpace(SPACE), StudyDirection.MINIMIZE, current=99)


def test_choices_are_equally_far_apart_and_numbers_keep_their_distances():
    middles = (np.arange(3) + 0.5) / 3
    points = features(np.column_stack((np.full(3, 0.2), middles)), (0, 3))
    for a, b in itertools.combinations(points, 2):
        assert np.linalg.norm(a - b) == pytest.approx(0.5)
    assert features(np.array([[0.0, 1.0]]), (3, 3)).shape == (1, 6)
    x = np.random.default_rng(0).random((5, 2))
    assert np.array_equal(features(x, (0, 0)), x)
    assert features(x[:, :0], ()).shape == (5, 0)


def test_the_model_finds_the_choice_that_the_order_of_choices_hides():
    rng = np.random.default_rng(0)
    x = rng.random((24, 2))
    # The two outer cells are good, the middle one is bad; what is good for the number depends on the choice.
    cell = np.minimum((x[:, 1] * 3).astype(int), 2)
    y = np.array([0.2, 1.0, 0.0])[cell] + (x[:, 0] - np.array([0.2, 0.5, 0.8])[cell]) ** 2
    point = most_promising(x, y, np.empty((0, 2)), seed=1, choices=(0, 3))
    assert int(point[1] * 3) == 2
    assert abs(point[0] - 0.8) < 0.2


def test_choices_are_learned_within_few_trials():
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
        decay = trial.suggest_float("decay", 1e-6, 1e-1, log=True)
        shift = trial.suggest_int("shift", 0, 4)
        trial.set_user_attr(TUNED, {"decay": math.sqrt(decay * 1e-3), "shift": (shift + 2) / 2})
        best = {"adam": -2.8, "sgd": -2.2, "rmsprop": -2.5}[optimizer]
        return (math.log10(lr) - best) ** 2 + {"adam": 0.0, "sgd": 1.0, "rmsprop": 1.5}[optimizer]

    def chosen(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=14)
        return float(np.mean([trial.params["optimizer"] == "adam" for trial in study.trials[6:]]))

    ours = [chosen(STNSampler(SPACE, self_tuned=["decay", "shift"], seed=seed)) for seed in range(5)]
    assert np.mean(ours) > 0.6
    assert np.mean(ours) > np.mean([chosen(RandomSampler(seed=seed)) for seed in range(5)]) + 0.2


@pytest.mark.parametrize("seed", range(3))
def test_what_fails_is_not_proposed_again_and_again(seed):
    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("optimizer", ["adam", "sgd", "rmsprop"])
        decay = trial.suggest_float("decay", 1e-6, 1e-1, log=True)
        trial.suggest_int("shift", 0, 4)
        # The nearer to the edge, the better; beyond it, no value at all.
        if math.log10(lr) > -2.0:
            raise FloatingPointError
        trial.set_user_attr(TUNED, {"decay": decay})
        return -math.log10(lr)

    study = optuna.create_study(sampler=STNSampler(SPACE, self_tuned=["decay", "shift"], seed=seed))
    study.optimize(objective, n_trials=20, catch=(FloatingPointError,))
    failed = [trial.state is TrialState.FAIL for trial in study.trials]
    assert sum(failed[4:]) <= 8
    assert study.best_value < 2.4


def test_a_failed_trial_ranks_last_unless_its_point_is_tried_again():
    history = read([trial(), trial(TrialState.FAIL, lr=0.1)])
    assert history.y.tolist() == [0.5, math.inf]
    assert history.moved.tolist() == [False, False]
    again = read([trial(TrialState.FAIL, lr=0.1), trial(lr=0.1, value=0.3)])
    assert again.y.tolist() == [0.3]
    running = read([trial(), trial(TrialState.FAIL, lr=0.1), trial(TrialState.RUNNING, lr=0.1)])
    assert running.y.tolist() == [0.5]
    assert len(running.pending) == 1


def test_failures_alone_do_not_end_self_tuning(caplog):
    sampler = STNSampler(SPACE, self_tuned=["decay", "shift"], seed=0)
    study = optuna.create_study(sampler=sampler)
    study.add_trials([trial(TrialState.FAIL, lr=10.0**-power) for power in (1, 2, 3)])
    params = study.ask(SPACE).params
    # Still around the middle of the range, where tuning first starts.
    assert 1e-5 < params["decay"] < 1e-2
    assert not caplog.records


@pytest.mark.parametrize(
    ("tuned", "decay"),
    [
        ({"decay": 0.0}, 0.0),
        ({"decay": -1.0}, 0.0),
        ({"decay": 5.0}, 1.0),
        ({"decay": 1e-6}, 0.0),
        ({"decay": math.nan}, 0.6),
        ({"decay": "strong"}, 0.6),
        ({"decay": None}, 0.6),
        ({"optimizer": 1.0}, 0.6),
        (["decay"], 0.6),
    ],
)
def test_tuned_values_that_make_no_sense_do_not_stop_a_search(tuned, decay):
    history = read([trial(tuned=tuned)])
    assert history.x_tuned[0, 2] == pytest.approx(decay)
    study = optuna.create_study(sampler=STNSampler(SPACE, self_tuned=["decay", "shift"], seed=0))
    study.add_trials([trial(tuned=tuned, value=0.1 * n, lr=1e-4 * 2**n) for n in range(6)])
    for _ in range(2):
        params = study.ask(SPACE).params
        assert all(
            distribution._contains(distribution.to_internal_repr(params[k])) for k, distribution in SPACE.items()
        )


def test_trials_whose_tuning_stuck_at_an_end_leave_proposals_inside():
    sampler = STNSampler(SPACE, self_tuned=["decay", "shift"], seed=0, follow=1.0, explore=0.0)
    study = optuna.create_study(sampler=sampler)
    study.add_trials(
        [trial(tuned={"decay": 1e-6, "shift": 0}, value=0.1 * n, lr=1e-4 * 2**n, optimizer="adam") for n in range(8)]
    )
    starts = [study.ask(SPACE).params["decay"] for _ in range(12)]
    assert all(1e-6 <= start <= 1e-1 for start in starts)
    # Not all of them at the flat end where the others stuck.
    assert len({round(math.log10(start), 3) for start in starts}) > 3


def test_parameters_are_plain_python_scalars():
    study = optuna.create_study(sampler=STNSampler(SPACE, self_tuned=["decay", "shift"], seed=0))
    for n in range(7):
        asked = study.ask(SPACE)
        assert [type(asked.params[name]) for name in SPACE] == [float, str, float, int]
        study.tell(asked, float(n))
