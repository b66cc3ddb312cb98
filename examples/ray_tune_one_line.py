"""Ray Tune code as it is, with one line changed: the search algorithm.

Each trial adapts its weight decay while it trains (here by a step on the gradient of the validation loss through the
last update of the weights), reports under ``tuned/`` where it ended, and `STNSearch` starts later trials near there.

    python examples/ray_tune_one_line.py
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import ray
from ray import tune
from sklearn.datasets import load_digits

from hypertune.ray import STNSearch

PARAM_SPACE = {
    "lr": tune.loguniform(1e-3, 1e1),
    "momentum": tune.uniform(0.0, 0.95),
    "weight_decay": tune.loguniform(1e-5, 1e-1),
    "epochs": 40,
}


def gradient(weights, x, y):
    """Loss and gradient of softmax regression; ``x (n, d)``, ``y (n, c)`` one-hot, ``weights (d, c)``."""
    scores = x @ weights
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return -(logs * y).sum(axis=1).mean(), x.T @ (np.exp(logs) - y) / len(x)


def train(config):
    """Train on 150 of scikit-learn's digits with noise, and tune the weight decay on 400 others."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))[:950]
    x, y = images[order] / 16 + rng.normal(0, 0.5, (950, 64)), np.eye(10)[labels[order]]
    (fit_x, tune_x, val_x), (fit_y, tune_y, val_y) = np.split(x, (150, 550)), np.split(y, (150, 550))
    weights, velocity, decay = np.zeros((64, 10)), np.zeros((64, 10)), config["weight_decay"]
    for _ in range(config["epochs"]):
        for _ in range(5):
            _, slope = gradient(weights, fit_x, fit_y)
            velocity = config["momentum"] * velocity - config["lr"] * (slope + decay * weights)
            before, weights = weights, weights + velocity
            # d(next weights) / d(log decay) = -lr * decay * weights
            _, outward = gradient(weights, tune_x, tune_y)
            hyper = -config["lr"] * decay * float((outward * before).sum())
            decay = float(np.clip(decay * math.exp(-np.clip(3.0 * hyper, -0.2, 0.2)), 1e-5, 1e-1))
        loss, _ = gradient(weights, val_x, val_y)
        tune.report({"val/loss": float(loss), "tuned/weight_decay": decay})


def main(samples: int = 20, storage: str | Path = "runs/ray") -> tuple[tune.ResultGrid, STNSearch]:
    search = STNSearch(self_tuned=["weight_decay"], seed=0)
    tuner = tune.Tuner(
        train,
        param_space=PARAM_SPACE,
        tune_config=tune.TuneConfig(
            search_alg=search,  # the one line
            metric="val/loss",
            mode="min",
            num_samples=samples,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(Path(storage).resolve()), verbose=0),
    )
    return tuner.fit(), search


if __name__ == "__main__":
    ray.init(include_dashboard=False)
    results, search = main()
    best = search.study.best_trial
    print(f"best of {len(results)} trials: val/loss {best.value:.4f}")
    print(f"  started with {best.params}")
    print(f"  ended with   {best.user_attrs['hypertune:tuned']}")
