"""The sampler with and without predictions: what it proposes first, later, and when predictions are useless."""

from __future__ import annotations

import logging

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from scipy.optimize import check_grad

from hypertune.errors import ConfigError
from hypertune.records import PREDICTED
from hypertune.samplers._history import History
from hypertune.samplers._mip_landscape import PredictedLandscape
from hypertune.samplers._mip_search import _Improvement, calibrate, next_point
from hypertune.samplers._prior import Calibration
from hypertune.samplers.mip import MIPSampler, mip
from hypertune.samplers.stn import STNSampler
from hypertune.space import SearchSpace

SPACE = SearchSpace.from_mapping(
    {
        "lr": {"type": "float", "low": 1e-4, "high": 0.1, "log": True},
        "a": {"type": "float", "low": 0.0, "high": 10.0},
        "b": {"type": "float", "low": 0.0, "high": 1.0},
        "kind": {"choices": ["one", "two", "three"]},
    }
)


class Bowl:
    """Predicts the squared distance from a point, or what a seeded permutation makes of it."""

    epochs = 5.0

    def __init__(self, *names: str, centre: float = 0.3, sign: float = 1.0) -> None:
        self.names = names
        self.centre, self.sign = centre, sign
        self.asked = 0

    def predict(self, points: np.ndarray) -> np.ndarray:
        self.asked += len(points)
        return self.sign * np.square(points - self.centre).sum(axis=1)

    def gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(points), self.sign * 2 * (points - self.centre)


class Ripples:
    """Predicts noise: a sum of waves that has nothing to do with what is searched."""

    epochs = 5.0

    def __init__(self, *names: str, seed: int = 0) -> None:
        self.names = names
        rng = np.random.default_rng(1000 + seed)
        self.waves, self.phases = 3 * rng.normal(size=(40, len(names))), rng.uniform(0, 6.28, 40)

    def predict(self, points: np.ndarray) -> np.ndarray:
        return np.cos(points @ self.waves.T + self.phases).sum(axis=1)

    def gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(points), -np.sin(points @ self.waves.T + self.phases) @ self.waves


def value(params):
    x = SPACE.encode(params)
    return float(np.sum(np.square(x[:3] - 0.3)) + 0.1 * (params["kind"] != "two"))


def run(sampler, n, *, study=None, tell=value):
    study = study or optuna.create_study(sampler=sampler)
    for _ in range(n):
        trial = study.ask(dict(SPACE.distributions))
        study.tell(trial, tell(trial.params))
    return study


def history(n=12, seed=0, pending=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 4))
    y = np.square(x[:, :3] - 0.3).sum(axis=1) + 0.02 * rng.normal(size=n)
    names, moved = SPACE.names, np.zeros(n, dtype=bool)
    return History(names, x, x, moved, y, rng.random((pending, 4)), (0, 0, 0, 3))


# What is predicted


def test_the_landscape_looks_up_what_it_was_asked_before():
    bowl = Bowl("b", "elsewhere", "a")
    landscape = PredictedLandscape(bowl, SPACE.names, size=64, seed=0)
    assert landscape.covered.tolist() == [1, 2]
    x = np.random.default_rng(0).random((5, 4))
    asked = bowl.asked
    # The name that the search does not have is in the middle of its axis.
    np.testing.assert_allclose(landscape.predicted(x), np.square(x[:, 1:3] - 0.3).sum(axis=1) + 0.2**2)
    assert bowl.asked == asked + 5
    landscape(x)
    assert bowl.asked == asked + 5


def test_standardized_predictions_keep_the_order_and_have_their_gradients():
    landscape = PredictedLandscape(Bowl("a", "b"), SPACE.names, size=256, seed=0)
    x = np.random.default_rng(0).random((40, 4))
    z, gradients = landscape.gradient(x)
    np.testing.assert_array_equal(z, landscape(x))
    np.testing.assert_array_equal(np.argsort(z), np.argsort(landscape.predicted(x)))
    for point, gradient in zip(x, gradients, strict=True):
        error = check_grad(lambda p: float(landscape(p[None])[0]), lambda p, g=gradient: g, point)
        assert error < 1e-4 * max(1.0, np.linalg.norm(gradient))


def test_the_lowest_point_is_polished_and_the_best_are_spread_out():
    landscape = PredictedLandscape(Bowl("a", "b"), SPACE.names, size=1024, seed=0)
    np.testing.assert_allclose(landscape.lowest(), [0.3, 0.3], atol=1e-4)
    points = landscape.spread_out(8)
    np.testing.assert_array_equal(points[0], landscape.lowest())
    best = np.sort(landscape.values)[round(0.05 * 1024)]
    low = [float(landscape(np.array([[0.5, *point, 0.5]]))[0]) for point in points]
    assert [z <= best for z in low] == [True, True, True, False] * 2
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(8)
    assert apart.min() > 0.05


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_prediction_that_is_no_number_counts_as_the_worst(bad):
    class Holed(Bowl):
        def predict(self, points):
            return np.where(points[:, 0] < 0.5, bad, super().predict(points))

    landscape = PredictedLandscape(Holed("a", "b"), SPACE.names, size=256, seed=0)
    assert np.isfinite(landscape.values).all()
    assert landscape.lowest()[0] >= 0.5
    assert landscape(np.array([[0.5, 0.1, 0.1, 0.5]]))[0] == landscape.values.max()


# What is proposed


def test_the_improvements_gradient_is_that_of_finite_differences():
    past = history(pending=2)
    landscape = PredictedLandscape(Bowl("a", "b", centre=0.4), past.names, size=256, seed=0)
    improvement = _Improvement(past.x, past.y, past.pending, past.choices, landscape, Calibration(0.7, 0.3, 0.9))
    for point in np.random.default_rng(1).random((6, 4)):
        found, gradient = improvement._with_gradient(point)
        assert found == pytest.approx(float(improvement(point[None])[0]), rel=1e-9)
        assert gradient[3] == 0  # along a choice there is none
        for axis in range(3):
            step = 1e-6 * np.eye(4)[axis]
            numeric = (improvement((point + step)[None]) - improvement((point - step)[None]))[0] / 2e-6
            assert gradient[axis] == pytest.approx(numeric, rel=2e-3, abs=2e-3)


def test_polishing_never_loses_and_leaves_choices_alone():
    past = history()
    improvement = _Improvement(past.x, past.y, past.pending, past.choices, None, Calibration())
    for start in np.random.default_rng(2).random((5, 4)):
        point, gain = improvement.climb(start)
        assert gain >= float(improvement(start[None])[0])
        assert gain == pytest.approx(float(improvement(point[None])[0]), rel=1e-6)
        assert point[3] == start[3]
        assert ((point >= 0) & (point <= 1)).all()


def test_first_trials_are_the_predicted_best_and_what_is_not_covered_is_spread():
    study = run(MIPSampler(SPACE, predict=Bowl("a", "b"), seed=0), 8)
    points = np.array([SPACE.encode(trial.params) for trial in study.trials])
    np.testing.assert_allclose(points[0, 1:3], 0.3, atol=1e-3)
    good = np.square(points[:, 1:3] - 0.3).sum(axis=1)
    assert (good[[0, 1, 2, 4, 5, 6]] < 0.06).all()
    assert points[0, 0] == 0.5
    assert len({min(int(4 * u), 3) for u in points[:, 0]}) == 4
    assert len({trial.params["kind"] for trial in study.trials}) == 3


def test_a_true_prediction_saves_trials():
    # The first trial already is where the search without predictions comes to.
    with_, without = (run(MIPSampler(SPACE, predict=p, seed=1), 12) for p in (Bowl("lr", "a", "b"), None))
    assert with_.trials[0].value <= 0.11
    assert with_.best_value < without.best_value


def test_predictions_without_a_rank_signal_leave_the_plain_process():
    past = history(n=14)
    for predictor in (Bowl("a", "b", "lr", sign=-1.0), Bowl("a", sign=0.0)):
        landscape = PredictedLandscape(predictor, past.names, size=256, seed=0)
        for seed in range(3):
            arguments = (past.x, past.y, past.pending)
            plain = next_point(*arguments, seed=seed, choices=past.choices)
            found = next_point(*arguments, seed=seed, choices=past.choices, landscape=landscape)
            np.testing.assert_array_equal(found, plain)


def test_useless_predictions_lose_their_weight_and_true_ones_keep_it():
    weights = {"noise": [], "true": []}
    for seed in range(12):
        past = history(n=20, seed=seed)
        for name, predictor in (("noise", Ripples("a", "b", "lr", seed=seed)), ("true", Bowl("a", "b", centre=0.45))):
            landscape = PredictedLandscape(predictor, past.names, size=256, seed=0)
            weights[name].append(calibrate(landscape, past.x, past.y, past.choices).weight)
    assert np.mean(np.array(weights["noise"]) == 0) > 0.5
    assert np.mean(weights["noise"]) < 0.12
    assert np.mean(np.array(weights["true"]) > 0) > 0.8
    assert np.mean(weights["true"]) > 0.35


def test_predictions_with_a_rank_signal_do_not():
    past = history(n=14)
    landscape = PredictedLandscape(Bowl("a", "b", "lr"), past.names, size=256, seed=0)
    arguments = (past.x, past.y, past.pending)
    plain = next_point(*arguments, seed=0, choices=past.choices)
    found = next_point(*arguments, seed=0, choices=past.choices, landscape=landscape)
    assert np.square(found[:3] - 0.3).sum() < np.square(plain[:3] - 0.3).sum()


def test_a_predictor_that_covers_nothing_is_said_once_and_changes_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        study = run(MIPSampler(SPACE, predict=Bowl("x", "y"), seed=2), 10)
    assert [record.getMessage() for record in caplog.records] == [
        "MIPSampler searches without predictions: the predictor covers x, y, the search has lr, a, b, kind"
    ]
    plain = run(MIPSampler(SPACE, seed=2), 10)
    assert [trial.params for trial in study.trials] == [trial.params for trial in plain.trials]
    assert not any(PREDICTED in trial.user_attrs for trial in study.trials)


def test_what_was_predicted_is_kept_with_each_trial():
    bowl = Bowl("a", "b")
    sampler = MIPSampler(SPACE, predict=bowl, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"a": 10.0, "b": 1.0})
    run(sampler, 9, study=study)
    for trial in study.trials:
        x = SPACE.encode(trial.params)[1:3]
        assert trial.user_attrs[PREDICTED] == pytest.approx(float(bowl.predict(x[None])[0]))
    assert study.trials[0].params["a"] == 10.0


def test_a_resumed_study_goes_on_as_an_uninterrupted_one_would():
    predict = Bowl("a", "b", centre=0.5)
    whole = run(MIPSampler(SPACE, predict=predict, seed=3), 12)
    halves = run(MIPSampler(SPACE, predict=predict, seed=3), 7)
    halves.sampler = MIPSampler(SPACE, predict=predict, seed=3)
    run(None, 5, study=halves)
    assert [trial.params for trial in halves.trials] == [trial.params for trial in whole.trials]


def test_other_seeds_propose_other_points():
    first, second = (run(MIPSampler(SPACE, predict=Bowl("a"), seed=seed), 8) for seed in (0, 1))
    assert all(one.params != other.params for one, other in zip(first.trials[1:], second.trials[1:], strict=True))


def test_running_trials_are_kept_away_from():
    sampler = MIPSampler(SPACE, predict=Bowl("a", "b"), seed=0)
    study = run(sampler, 12)
    asked = [study.ask(dict(SPACE.distributions)) for _ in range(4)]
    points = np.array([SPACE.encode(trial.params) for trial in asked])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(4)
    assert apart.min() > 0.02


def test_maximizing_trusts_low_predicted_losses():
    study = optuna.create_study(direction="maximize", sampler=MIPSampler(SPACE, predict=Bowl("a", "b", "lr"), seed=0))
    run(None, 12, study=study, tell=lambda params: -value(params))
    assert study.best_value > -0.03


def test_failed_trials_do_not_stop_it():
    sampler = MIPSampler(SPACE, predict=Bowl("a", "b"), seed=0)
    study = optuna.create_study(sampler=sampler)
    for number in range(14):
        trial = study.ask(dict(SPACE.distributions))
        if number % 3:
            study.tell(trial, value(trial.params))
        else:
            study.tell(trial, state=TrialState.FAIL)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 14


def test_conditional_hyperparameters_come_from_the_independent_sampler():
    space = SearchSpace.from_mapping(
        {
            "kind": {"choices": ["plain", "noisy"]},
            "rate": {"type": "float", "low": 0.0, "high": 1.0, "when": {"kind": "noisy"}},
            "a": {"type": "float", "low": 0.0, "high": 1.0},
        }
    )
    study = optuna.create_study(sampler=MIPSampler(space, predict=Bowl("a", "rate"), seed=0))
    for _ in range(12):
        trial = study.ask(dict(space.unconditional))
        if trial.params["kind"] == "noisy":
            trial.suggest_float("rate", 0.0, 1.0)
        study.tell(trial, trial.params["a"] + trial.params.get("rate", 0.5))
    assert {"rate" in trial.params for trial in study.trials} == {True, False}


@pytest.mark.parametrize(
    ("option", "given"), [("n_startup", 0), ("n_startup", 1.5), ("n_startup", True), ("n_predictions", 10)]
)
def test_options_out_of_range_are_refused(option, given):
    with pytest.raises(ConfigError, match=f"sampler.{option}: out of range; given {given!r}"):
        mip(SPACE, seed=0, **{option: given})


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'n_startup'"):
        mip(SPACE, seed=0, n_startups=3)


# A warm start for self-tuning trials


def test_self_tuning_trials_first_start_where_the_prediction_is_lowest():
    marked = SearchSpace(SPACE.distributions, frozenset({"a", "b"}))
    for predictor, expected in ((Bowl("a", centre=0.7), (0.7, 0.45)), (Bowl("x"), (0.45, 0.45)), (None, (0.45, 0.45))):
        study = run(STNSampler(marked, seed=0, warm_start=predictor), 1)
        np.testing.assert_allclose(SPACE.encode(study.trials[0].params)[1:3], expected, atol=1e-3)
    edge = run(STNSampler(marked, seed=0, warm_start=Bowl("a", centre=-1.0)), 1)
    assert SPACE.encode(edge.trials[0].params)[1] == pytest.approx(0.03)
    with pytest.raises(ConfigError, match="sampler.warm_start"):
        STNSampler(marked, warm_start="tpe")
