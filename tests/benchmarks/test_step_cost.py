"""What a self-tuning weight step costs beside a plain one, on the 28 x 28 images of mnist5k."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hypertune.families.cnn import FAMILY as CNN
from hypertune.space import SearchSpace
from hypertune.tasks.mnist5k import mnist5k
from hypertune.training.assembly import Assembly, assemble
from hypertune.training.precision import Precision
from hypertune.training.self_tuning import SelfTuningLearner
from hypertune.training.self_tuning_settings import SelfTuningSettings
from hypertune.training.settings import TrainingSettings

sys.path.insert(0, str(Path(__file__).parent))
from comparison.step_cost import interleaved, peak_memory

PARAMS = {"width": 16, "depth": 2, "dropout": 0.2, "weight_decay": 1e-4, "input_noise": 0.1, "lr": 0.01} | {
    "shift": 0.1,
    "rotate": 10.0,
    "erase": 0.2,
    "optimizer": "sgd",
}
CPU = torch.device("cpu")
METHODS = {
    "plain": None,
    "stn": SelfTuningSettings(),
    "stn, one draw a batch": SelfTuningSettings(per_example=False),
    "stn, rank 1": SelfTuningSettings(rank=1),
    "delta_stn, not linearised": SelfTuningSettings(algorithm="delta_stn", linearize=False),
    "delta_stn": SelfTuningSettings(algorithm="delta_stn"),
}


def _assembled(name: str) -> Assembly:
    task = mnist5k(n_train=1000, n_val=500, n_test=500)
    settings = TrainingSettings(self_tuning=METHODS[name], device="cpu")
    space = SearchSpace.load("cnn")
    return assemble(PARAMS, 0, CNN, task, settings, device=CPU, precision=Precision("float32", CPU), space=space)


def _step(name: str) -> Callable[[], object]:
    parts = _assembled(name)
    x, y = next(iter(parts.train))
    parts.learner.module.train()
    learner = parts.learner
    step = learner.algorithm.weight_step if isinstance(learner, SelfTuningLearner) else learner.step
    return lambda: step(x, y)


@pytest.mark.bench
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_self_tuning_step_costs_little_more_than_a_plain_one():
    torch.set_num_threads(1)
    times = interleaved(
        {name: _step(name) for name in METHODS}, rounds=12, repeats=2, warmup=2, clock=time.process_time
    )
    memory = {name: peak_memory(lambda name=name: _step(name)) for name in METHODS}
    print("\nweight step, mnist5k CNN (width 16, depth 2, batch 128, augmented), CPU time, one thread")
    for name, cost in times.items():
        low, high = cost.quartiles
        peak = memory[name] / memory["plain"]
        print(
            f"  {name:26s} {1e3 * cost.seconds:7.1f} ms  {cost.ratio:.2f}x ({low:.2f}-{high:.2f})  memory {peak:.2f}x"
        )
    assert times["stn"].ratio <= 1.6
    assert memory["stn"] <= 2.2 * memory["plain"]
    assert times["delta_stn"].ratio <= 3.0
    assert memory["delta_stn"] <= 2.2 * memory["plain"]
