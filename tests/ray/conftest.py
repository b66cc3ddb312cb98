"""What the tests of the Ray face share: a small space, and trials driven as Ray drives them, without a cluster."""

from __future__ import annotations

import math

import pytest
from ray import tune

DOMAINS = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "net": {"depth": tune.randint(1, 5), "act": tune.choice(["relu", "gelu"])},
}


def loss(config, step=3):
    """A smooth function of a config with its best value inside, falling with the steps."""
    penalty = {"relu": 0.0, "gelu": 0.1}[config["net"]["act"]]
    return (math.log10(config["lr"]) + 2.5) ** 2 + (config["net"]["depth"] - 3) ** 2 / 4 + penalty + 1 / step


def run_trials(search, names, value=loss, steps=3):
    """Run trials one after the other as Ray does a function trainable; returns their configs."""
    configs = []
    for name in names:
        config = search.suggest(name)
        if config == search.FINISHED:
            break
        configs.append(config)
        for step in range(1, steps + 1):
            result = {"loss": value(config, step), "training_iteration": step}
            search.on_trial_result(name, result)
        search.on_trial_complete(name, {**result, "done": True})
    return configs


@pytest.fixture
def ready():
    """Make a search ready as ``Tuner(param_space=..., tune_config=TuneConfig(metric=..., mode=...))`` does."""

    def prepare(search, domains=DOMAINS, metric="loss", mode="min"):
        assert search.set_search_properties(metric, mode, domains, num_samples=1)
        return search

    return prepare
