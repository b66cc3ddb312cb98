"""How well a hypernetwork ranks configurations that are then trained from scratch, and what it costs.

Three targets, three seeds; a piece with `-k "mnist-mlp-5 and seed0"`. Only the hyperparameters that the hypernetwork
covers vary between configurations: it says nothing of the others.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))
from comparison.tasks import TASKS, BenchmarkTask

from hypertune.records import Assignment
from hypertune.space import SearchSpace
from hypertune.training.fit import fit
from hypertune.training.mip import HypernetworkSettings, MIPPredictor, train_hypernetwork
from hypertune.training.trial import Trial

CONFIGURATIONS = 24
OPTIONS = HypernetworkSettings()
# What a rank correlation must not fall below: a sign that something broke. The target on the perceptron, 0.75, is
# reached by the seeds that defaults were chosen on (0.77, 0.79) and missed by the other (0.51).
FLOOR = {"mnist-mlp-5": 0.3, "mnist-cnn": 0.0, "digits-phnn": 0.0}


def _predictor(task: BenchmarkTask, data: object, seed: int) -> MIPPredictor:
    setting = {
        **task.fixed,
        **{name: task.start[name] for name in task.space.names if name not in task.space.self_tuned},
    }
    return train_hypernetwork(
        task.family, data, task.space, task.settings(task.epochs), options=OPTIONS, setting=setting, seed=seed
    )  # type: ignore[arg-type]


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [0, 1, 2], ids=lambda seed: f"seed{seed}")
@pytest.mark.parametrize("name", FLOOR)
def test_rank_correlation(name: str, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    task = TASKS[name]
    data = task.data(seed)
    started = time.process_time()
    predictor = _predictor(task, data, seed)
    trained = time.process_time() - started
    covered = SearchSpace({known: task.space.distributions[known] for known in predictor.names})
    started = time.process_time()
    values = []
    for number, params in enumerate(covered.sample(CONFIGURATIONS, seed=100 + seed)):
        folder = tmp_path / str(number)
        folder.mkdir()
        trial = Trial(
            Assignment(number, {**predictor.setting, **params}, 1000 * seed + number, str(folder)), lambda report: False
        )
        values.append((params, fit(trial, task.family, data, task.settings(task.epochs)).value))
    per_trial = (time.process_time() - started) / CONFIGURATIONS
    started = time.process_time()
    predicted = predictor.predict(np.array([covered.encode(params) for params, _ in values]))
    per_prediction = (time.process_time() - started) / CONFIGURATIONS
    real = np.array([value for _, value in values])
    correlation = float(spearmanr(predicted, real).statistic)
    best = int(np.argmin(predicted))
    with capsys.disabled():
        print(
            f"\n{name} seed {seed}: {predictor.head}, rank correlation {correlation:.2f} over {CONFIGURATIONS}; "
            f"real {real.min():.3f} to {real.max():.3f}, predicted {predicted.min():.3f} to {predicted.max():.3f}; "
            f"the predicted best is really number {int((real < real[best]).sum()) + 1}; "
            f"cost {predictor.epochs / task.epochs:.1f} trials in epochs, {trained / per_trial:.1f} in CPU time; "
            f"1,000 predictions {1000 * per_prediction:.0f} s"
        )
    assert predictor.epochs <= 10 * task.epochs
    assert correlation >= FLOOR[name]
    if name == "mnist-mlp-5":
        assert 1000 * per_prediction < 60
