"""One sampler behind Optuna's own loop and behind Ray's calls proposes the same."""

from __future__ import annotations

import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hypertune.ray import DataDrivenSearch, HyperTuneSearch, MIPSearch
from hypertune.records import PREDICTED, TUNED
from hypertune.registry import load
from hypertune.samplers.contract import as_sampler
from hypertune.space import SearchSpace

SPACE = SearchSpace(
    {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "depth": IntDistribution(1, 6),
        "act": CategoricalDistribution(["relu", "gelu", "silu"]),
        "rate": FloatDistribution(0.0, 1.0),
    },
    self_tuned=frozenset({"rate"}),
)
TRIALS = 16


def values(params):
    """Utilities in [0, 1] on three steps, and where the rate ends."""
    good = math.exp(-((math.log10(params["lr"]) + 2) ** 2) - (params["depth"] - 3) ** 2 / 9)
    good *= {"relu": 1.0, "gelu": 0.9, "silu": 0.7}[params["act"]]
    return [good * share for share in (0.5, 0.8, 1.0)], 0.5 * params["rate"] + 0.1


class Predictor:
    """Knows where the rate should be."""

    names = ("rate",)
    epochs = 1.0

    def predict(self, points):
        return self.gradient(points)[0]

    def gradient(self, points):
        return (points[:, 0] - 0.3) ** 2, 2 * (points - 0.3)


def build(sampler, options):
    return as_sampler(load("sampler", sampler), SPACE, seed=7, resumed_at=0, options=options)


def with_optuna(sampler, options):
    study = optuna.create_study(sampler=build(sampler, options), direction="maximize")
    configs = []

    def objective(trial):
        params = {
            "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
            "depth": trial.suggest_int("depth", 1, 6),
            "act": trial.suggest_categorical("act", ["relu", "gelu", "silu"]),
            "rate": trial.suggest_float("rate", 0.0, 1.0),
        }
        configs.append(params)
        reported, ended = values(params)
        for step, value in enumerate(reported, start=1):
            trial.report(value, step)
        trial.set_user_attr(TUNED, {"rate": ended})
        if trial.number == 3:
            raise ArithmeticError
        return sum(reported) / len(reported) if sampler == "data_driven" else reported[-1]

    study.optimize(objective, n_trials=TRIALS, catch=ArithmeticError)
    return configs, study


def with_ray(sampler, options):
    if sampler == "data_driven":
        search = DataDrivenSearch(SPACE, "value", "max", seed=7, **options)
    elif sampler == "mip":
        search = MIPSearch(SPACE, "value", "max", seed=7, **options)
    else:
        search = HyperTuneSearch(sampler, SPACE, "value", "max", seed=7, **options)
    configs = []
    for number in range(TRIALS):
        config = search.suggest(f"id{number}")
        if config == search.FINISHED:
            break
        configs.append(config)
        reported, ended = values(config)
        for step, value in enumerate(reported, start=1):
            result = {"value": value, "training_iteration": step, "tuned/rate": ended}
            search.on_trial_result(f"id{number}", result)
        if number == 3:
            search.on_trial_complete(f"id{number}", error=True)
        else:
            search.on_trial_complete(f"id{number}", {**result, "done": True})
    return configs, search.study


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("stn", {}),
        ("tpe", {}),
        ("gp", {"n_startup_trials": 6}),
        ("data_driven", {"candidates": 6, "refinements": 6, "batch": 3}),
        ("random", {}),
        ("cmaes", {}),
        ("qmc", {}),
        ("mip", {"predict": Predictor()}),
    ],
)
def test_both_faces_propose_the_same(sampler, options):
    optuna_configs, optuna_study = with_optuna(sampler, options)
    ray_configs, ray_study = with_ray(sampler, options)
    assert ray_configs == optuna_configs
    assert len(ray_configs) == (12 if sampler == "data_driven" else TRIALS)
    for ours, theirs in zip(ray_study.trials, optuna_study.trials, strict=True):
        assert (ours.state, ours.values) == (theirs.state, theirs.values)
        assert ours.intermediate_values == theirs.intermediate_values
        assert ours.user_attrs[TUNED] == theirs.user_attrs[TUNED]
    assert ray_study.trials[3].state is TrialState.FAIL


def test_a_search_keeps_its_predictor_when_it_is_restored(tmp_path):
    search = MIPSearch(SPACE, "value", "max", seed=7, predict=Predictor())
    for number in range(8):
        config = search.suggest(f"id{number}")
        search.on_trial_complete(f"id{number}", {"value": values(config)[0][-1], "training_iteration": 1})
    search.save(str(tmp_path / "search.pkl"))
    restored = MIPSearch()
    restored.restore(str(tmp_path / "search.pkl"))
    assert restored.suggest("next") == search.suggest("next")
    assert PREDICTED in restored.study.trials[-1].user_attrs


def test_another_seed_is_another_sequence():
    first = HyperTuneSearch("tpe", SPACE, "value", "max", seed=7).suggest("a")
    assert first == HyperTuneSearch("tpe", SPACE, "value", "max", seed=7).suggest("b")
    assert first != HyperTuneSearch("tpe", SPACE, "value", "max", seed=8).suggest("a")
    unseeded = [HyperTuneSearch("tpe", SPACE, "value", "max").suggest("a") for _ in range(2)]
    assert unseeded[0] != unseeded[1]
