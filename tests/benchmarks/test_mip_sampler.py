"""What a hypernetwork saves a search, its own epochs included, and what a useless one costs.

Every search of one seed sees the same split and the same seeds of trials. In pieces: ``HYPERTUNE_BENCH_SEEDS=2`` and
``-k "savings and digits-phnn"``.
"""

from __future__ import annotations

import math
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from scipy.stats import ttest_rel

from hypertune.samplers.mip import MIPSampler
from hypertune.samplers.stn import STNSampler
from hypertune.training.fit import fit
from hypertune.training.mip import HypernetworkSettings, MIPPredictor, train_hypernetwork
from hypertune.training.self_tuning_settings import SelfTuningSettings

sys.path.insert(0, str(Path(__file__).parent))

from comparison.study import search
from comparison.tasks import TASKS, BenchmarkTask
from comparison.trajectory import Point

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

SEEDS = range(int(os.environ.get("HYPERTUNE_BENCH_SEEDS", "5")))
TRIALS = int(os.environ.get("HYPERTUNE_BENCH_TRIALS", "40"))
PRICE = 3  # trials that the hypernetwork may cost
PREDICTED_WEIGHTS = "mip with init_from_hypernet"


class Shuffled:
    """Predicts for each configuration what another one, drawn at random, would get."""

    def __init__(self, predictor: MIPPredictor) -> None:
        self._predictor = predictor
        self.names, self.epochs = predictor.names, predictor.epochs

    def predict(self, points: np.ndarray) -> np.ndarray:
        seeds = [zlib.crc32(np.round(point, 9).tobytes()) for point in points]
        return self._predictor.predict(np.array([np.random.default_rng(s).random(points.shape[1]) for s in seeds]))

    def gradient(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.predict(points), np.zeros_like(points)


def hypernetwork(benchmark: BenchmarkTask, seed: int) -> MIPPredictor:
    return train_hypernetwork(
        benchmark.family,
        benchmark.data(seed),
        benchmark.space,
        benchmark.settings(benchmark.epochs),
        options=HypernetworkSettings(trials=PRICE),
        setting=benchmark.fixed,
        seed=seed,
    )


def reached(points: Sequence[Point], value: float) -> float:
    """Return the epochs after which the incumbent is at least so good."""
    return next((float(point.epochs) for point in points if point.value <= value), math.inf)


def quartiles(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), method="nearest")
    return f"{middle:.4g} [{low:.4g}, {high:.4g}]"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["diabetes-mlp", "digits-phnn"])
def test_safety_of_useless_predictions(name, tmp_path):
    benchmark, trials = TASKS[name], min(TRIALS, 20)
    ends: dict[str, list[float]] = {"plain": [], "shuffled": [], "mip": []}
    for seed in SEEDS:
        predictor = hypernetwork(benchmark, seed)
        for method, predict in (("plain", None), ("shuffled", Shuffled(predictor)), ("mip", predictor)):
            sampler = MIPSampler(benchmark.space, predict=predict, seed=1000 + seed)
            points = search(benchmark, seed, trials * benchmark.epochs, tmp_path / f"{method}-{seed}", sampler=sampler)
            ends[method].append(points[-1].value)
        print(f"\n{name} seed {seed}: " + ", ".join(f"{m} {values[-1]:.4f}" for m, values in ends.items()), flush=True)
    for method, values in ends.items():
        print(f"{name}: {method} after {trials} trials {quartiles(values)}")
    if len(SEEDS) >= 5:
        worse = ttest_rel(ends["shuffled"], ends["plain"], alternative="greater")
        print(f"{name}: shuffled against plain, paired one-sided t test p = {worse.pvalue:.3f}")
        assert worse.pvalue > 0.05


@pytest.mark.parametrize("name", ["mnist-mlp-5", "mnist-mlp-12", "digits-phnn"])
def test_savings_against_tpe(name, tmp_path):
    benchmark = TASKS[name]
    budget = TRIALS * benchmark.epochs
    needed: dict[str, list[float]] = {}
    ends: dict[str, list[float]] = {}
    for seed in SEEDS:
        predictor = hypernetwork(benchmark, seed)
        samplers: dict[str, BaseSampler] = {
            "tpe": TPESampler(multivariate=True, seed=1000 + seed),
            "random": RandomSampler(seed=1000 + seed),
            "gpsampler": GPSampler(seed=1000 + seed),
            "plain": MIPSampler(benchmark.space, seed=1000 + seed),
            "mip": MIPSampler(benchmark.space, predict=predictor, seed=1000 + seed),
            PREDICTED_WEIGHTS: MIPSampler(benchmark.space, predict=predictor, seed=1000 + seed),
        }
        target = math.nan
        for method, sampler in samplers.items():
            paid = predictor.epochs if "mip" in method else 0.0
            points = search(
                benchmark,
                seed,
                budget - int(paid),
                tmp_path / f"{method}-{seed}",
                sampler=sampler,
                train=_from(predictor) if method == PREDICTED_WEIGHTS else fit,
            )
            target = points[-1].value if method == "tpe" else target
            needed.setdefault(method, []).append((paid + reached(points, target)) / budget)
            ends.setdefault(method, []).append(points[-1].value)
        shown = ", ".join(f"{m} {shares[-1]:.2f} (ends at {ends[m][-1]:.4f})" for m, shares in needed.items())
        print(f"\n{name} seed {seed}: share of {budget} epochs to reach {target:.4f}: {shown}", flush=True)
    for method, shares in needed.items():
        print(f"{name}: {method} {quartiles(shares)} of the epochs of {TRIALS} trials to reach TPE's value")
        print(f"{name}: {method} ends at {quartiles(ends[method])}")


@pytest.mark.parametrize("name", ["mnist-mlp-5", "digits-phnn"])
def test_warm_start_of_self_tuning_trials(name, tmp_path):
    benchmark, trials = TASKS[name], 3
    ends: dict[str, list[float]] = {"stn": [], "stn, warm start": []}
    for seed in SEEDS:
        for method, predict in (("stn", None), ("stn, warm start", hypernetwork(benchmark, seed))):
            sampler = STNSampler(benchmark.space, seed=1000 + seed, warm_start=predict)
            points = search(
                benchmark,
                seed,
                (trials + 1) * benchmark.epochs,  # the first trial is everyone's
                tmp_path / f"{method}-{seed}",
                sampler=sampler,
                train=_self_tuned(benchmark),
                self_tuning=SelfTuningSettings(),
            )
            ends[method].append(points[-1].value)
    for method, values in ends.items():
        print(f"\n{name}: {method} after {trials} trials {quartiles(values)}")


def _from(predictor: MIPPredictor):
    """Train trials that begin with predicted weights."""

    def train(trial, family, task, settings):
        def build(params, spec):
            model = family.build(params, spec)
            model.load_state_dict(predictor.initial_weights(trial.params))
            return model

        return fit(trial, replace(family, build=build), task, settings)

    return train


def _self_tuned(benchmark: BenchmarkTask):
    def train(trial, family, task, settings):
        return fit(trial, family, task, settings, space=benchmark.space)

    return train
