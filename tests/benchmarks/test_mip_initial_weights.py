"""What trials gain that begin with predicted weights instead of random ones.

Random configurations are trained twice, in pairs: from the family's own initialization, and from the weights that one
hypernetwork predicts for them. A piece with ``-k digits-phnn``; ``HYPERTUNE_BENCH_SEEDS=2`` for fewer seeds.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))
from comparison.tasks import TASKS, BenchmarkTask

from hypertune.records import Assignment, Report
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training.fit import fit
from hypertune.training.mip import MIPPredictor, train_hypernetwork
from hypertune.training.trial import Trial

SEEDS = range(int(os.environ.get("HYPERTUNE_BENCH_SEEDS", "3")))
CONFIGURATIONS = 12


def curve(task: BenchmarkTask, data: Task, params: dict, seed: int, folder: Path, begin: MIPPredictor | None) -> list:
    """Return the validation loss after each epoch of a trial."""
    values: list[float] = []

    def heard(report: Report) -> bool:
        values.append(report.metrics["val/loss"])
        return False

    def build(chosen, spec):
        model = task.family.build(chosen, spec)
        if begin is not None:
            model.load_state_dict(begin.initial_weights(params))
        return model

    folder.mkdir(parents=True)
    trial = Trial(Assignment(0, params, seed, str(folder)), heard)
    fit(trial, replace(task.family, build=build), data, task.settings(task.epochs))
    return values


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["mnist-mlp-5", "digits-phnn"])
def test_trials_that_begin_with_predicted_weights(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    task = TASKS[name]
    shares, ratios, orders, firsts = [], [], [], []
    for seed in SEEDS:
        data = task.data(seed)
        setting = {**task.fixed, **{n: v for n, v in task.start.items() if n not in task.space.self_tuned}}
        predictor = train_hypernetwork(
            task.family, data, task.space, task.settings(task.epochs), setting=setting, seed=seed
        )
        covered = SearchSpace({known: task.space.distributions[known] for known in predictor.names})
        best: dict[str, list[float]] = {"own": [], "predicted": []}
        for number, params in enumerate(covered.sample(CONFIGURATIONS, seed=200 + seed)):
            chosen = {**predictor.setting, **params}
            own, predicted = (
                curve(task, data, chosen, number, tmp_path / f"{seed}-{number}-{begin is None}", begin)
                for begin in (None, predictor)
            )
            target = min(own)
            reached = next((epoch for epoch, value in enumerate(predicted, 1) if value <= target), math.inf)
            needed = next(epoch for epoch, value in enumerate(own, 1) if value <= target)
            shares.append(reached / needed)
            ratios.append(min(predicted) / target)
            firsts.append(predicted[0] / own[0])
            best["own"].append(target)
            best["predicted"].append(min(predicted))
        orders.append(float(spearmanr(best["own"], best["predicted"]).statistic))
    with capsys.disabled():
        for label, values in (
            ("epochs to the best loss of its own initialization, as a share of its", shares),
            ("best loss, as a share", ratios),
            ("loss after the first epoch, as a share", firsts),
            ("rank correlation of the best losses", orders),
        ):
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), method="nearest")
            print(f"\n{name}: {label}: {middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"{name}: never reached by {np.mean(np.isinf(shares)):.0%} of {len(shares)} trials")
    assert np.median(firsts) < 1
