"""What a trivial trial costs in Ray Tune with a search algorithm of ours, next to Ray's own `OptunaSearch`.

All of them run in turns on one cluster, one trial after the other in a worker process that is reused. Two times of a
trial are looked at: that from the end of the one before it to its own end, and the share of a trial in a whole run of
``TRIALS``, most of which goes into the start of that process. `HyperTuneSearch` with the very sampler of the peer shows
what the search algorithm itself costs; `STNSearch` also fits a Gaussian process for each proposal. Both have a limit.

`pytest -m bench tests/benchmarks/test_ray_overhead.py -s`
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings

import numpy as np
import optuna
import pytest
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from hypertune.ray import HyperTuneSearch, STNSearch

TRIALS = 24
ROUNDS = 24
DOMAINS = {f"x{i}": tune.uniform(0, 1) for i in range(10)}

SEARCHES = {
    "OptunaSearch(TPE)": lambda seed: OptunaSearch(sampler=optuna.samplers.TPESampler(seed=seed)),
    "HyperTuneSearch(TPE)": lambda seed: HyperTuneSearch(optuna.samplers.TPESampler(seed=seed)),
    "STNSearch": lambda seed: STNSearch(seed=seed, self_tuned=["x0", "x1"]),
}
PEER = "OptunaSearch(TPE)"


class Clock(tune.Callback):
    """When trials ended."""

    def __init__(self):
        self.ends = []

    def on_trial_complete(self, iteration, trials, trial, **info):
        self.ends.append(time.perf_counter())


def seconds(search, folder, name):
    """Seconds of each trial but the first, a trial's share of the whole run's seconds, and of the driver's CPU seconds."""

    def train(config):
        from ray import tune

        tune.report({"loss": sum(config.values()), "tuned/x0": 0.5, "tuned/x1": 0.5})

    clock = Clock()
    tuner = tune.Tuner(
        train,
        param_space=DOMAINS,
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(search, 1), metric="loss", mode="min", num_samples=TRIALS, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(folder), name=name, verbose=0, callbacks=[clock]),
    )
    begun, used = time.perf_counter(), time.process_time()
    results = tuner.fit()
    whole, driver = time.perf_counter() - begun, time.process_time() - used
    assert len(results) == len(clock.ends) == TRIALS
    assert not results.errors
    return list(np.diff(clock.ends)), whole / TRIALS, driver / TRIALS


def alone(search):
    """CPU milliseconds a trial of the search algorithm by itself, over as many trials as in a run."""
    search.set_search_properties("loss", "min", DOMAINS)
    used = time.process_time()
    for number in range(TRIALS):
        config = search.suggest(f"t{number}")
        result = {"loss": sum(config.values()), "training_iteration": 1, "tuned/x0": 0.5, "tuned/x1": 0.5}
        search.on_trial_result(f"t{number}", result)
        search.on_trial_complete(f"t{number}", result)
    return 1000 * (time.process_time() - used) / TRIALS


def spread(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


@pytest.mark.bench
@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_overhead_of_a_trial_in_ray(tmp_path, capsys, monkeypatch):
    warnings.simplefilter("ignore")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100_000_000,
    )
    wall, share, cpu, own = ({name: [] for name in SEARCHES} for _ in range(4))
    try:
        for turn in range(ROUNDS):
            for name in list(SEARCHES) if turn % 2 else list(SEARCHES)[::-1]:
                each, whole, driver = seconds(SEARCHES[name](turn), tmp_path, f"{turn}-{list(SEARCHES).index(name)}")
                wall[name] += each
                share[name].append(whole)
                cpu[name].append(driver)
                own[name].append(alone(SEARCHES[name](turn)))
    finally:
        ray.shutdown()
    middle = {name: statistics.median(wall[name]) for name in SEARCHES}
    with capsys.disabled():
        print(f"\n{ROUNDS} rounds of {TRIALS} trials each, 10 hyperparameters; median (quartiles) of a trial")
        for name in SEARCHES:
            print(
                f"  {name:22} {spread(wall[name])} s after the one before, {middle[name] / middle[PEER]:.2f} times {PEER}"
            )
            print(f"  {'':22} {spread(share[name])} s of the whole run, {spread(cpu[name])} s of driver CPU")
            print(f"  {'':22} {spread(own[name])} ms of CPU for the search algorithm by itself")
    for name in SEARCHES:
        assert middle[name] / middle[PEER] <= 1.1, name
