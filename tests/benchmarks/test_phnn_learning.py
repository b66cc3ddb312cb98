"""Whether a hypercomplex ResNet learns what its real twin learns with four times the parameters, on mnist5k."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from hypertune.families.contract import build_model
from hypertune.families.phnn import FAMILY as PHNN
from hypertune.records import Assignment
from hypertune.tasks.mnist5k import mnist5k
from hypertune.training.fit import fit
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

SEEDS = (0, 1, 2)
EPOCHS = 10
COMMON = {"architecture": "resnet20", "width": 8, "lr": 0.01, "lr_schedule": "cosine", "weight_decay": 1e-4}
TWINS = {"real": {"algebra": "real"}, "hypercomplex, n = 4": {"n": 4}}


@pytest.mark.bench
def test_a_hypercomplex_resnet_learns_as_well_as_its_real_twin(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    task = mnist5k()
    settings = TrainingSettings(epochs=EPOCHS, batch_size=64, device="cpu", metric="val/accuracy", direction="maximize")
    accuracy: dict[str, list[float]] = {name: [] for name in TWINS}
    size = {
        name: sum(p.numel() for p in build_model(PHNN, {**COMMON, **mine}, task.spec).parameters())
        for name, mine in TWINS.items()
    }
    print(f"\nresnet20, width {COMMON['width']}, mnist5k, {EPOCHS} epochs, test accuracy of the best validation epoch")
    for seed in SEEDS:
        for name, mine in TWINS.items():
            params = {**COMMON, **mine}
            folder = tmp_path / f"{name}-{seed}"
            folder.mkdir()
            trial = Trial(Assignment(seed, params, seed, str(folder)), lambda report: False)
            result = fit(trial, PHNN, task, settings)
            accuracy[name].append(100 * result.metrics["test/accuracy"])
            print(f"  seed {seed}  {name:20s} {accuracy[name][-1]:.1f}%", flush=True)
    for name, reached in accuracy.items():
        mean, spread = statistics.mean(reached), statistics.stdev(reached)
        print(f"  {name:20s} {mean:.2f}% +- {spread:.2f} (standard deviation), {size[name]:,} parameters")
    assert size["hypercomplex, n = 4"] < 0.3 * size["real"]
    assert statistics.mean(accuracy["hypercomplex, n = 4"]) >= statistics.mean(accuracy["real"]) - 0.5
