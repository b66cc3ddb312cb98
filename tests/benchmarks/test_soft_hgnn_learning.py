"""What soft hypergraphs add to their backbone, on 1,000 images of mnist5k: five seeds, the same for every insertion."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from hypertune.families.soft_hgnn import FAMILY
from hypertune.records import Assignment
from hypertune.tasks.mnist5k import mnist5k
from hypertune.training.fit import fit
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

SEEDS = range(5)
BACKBONES: dict[str, dict[str, Any]] = {
    "vit": {"backbone": "vit", "width": 32, "depth": 2, "heads": 4, "patch_size": 4, "lr": 3e-3, "epochs": 15},
    "cnn": {"backbone": "cnn", "width": 32, "depth": 3, "lr": 3e-3, "epochs": 8},
}
INSERTIONS: dict[str, dict[str, Any]] = {
    "plain": {"insertion": "none"},
    "dense, 16 hyperedges": {"insertion": "after_backbone", "hyperedges": 16, "selection": "dense"},
    "sparse, 8 of 32 and 8 fixed": {"insertion": "after_backbone", "hyperedges": 32, "selection": "sparse"},
}


@pytest.mark.bench
@pytest.mark.parametrize("name", BACKBONES)
def test_what_the_block_adds_to_its_backbone(tmp_path: Path, name: str) -> None:
    """No claim is asserted: the figure is what is printed, with the paired difference that five seeds can show."""
    torch.set_num_threads(1)
    task = mnist5k(n_train=1000, n_val=500, n_test=2000)
    backbone = dict(BACKBONES[name])
    settings = TrainingSettings(device="cpu", epochs=backbone.pop("epochs"), batch_size=100)
    accuracies: dict[str, list[float]] = {}
    for seed in SEEDS:
        for insertion, params in INSERTIONS.items():
            folder = str(tmp_path / f"{insertion}-{seed}")
            trial = Trial(Assignment(0, {**backbone, **params}, seed, folder), lambda report: False)
            result = fit(trial, FAMILY, task, settings)
            accuracies.setdefault(insertion, []).append(100 * result.metrics["test/accuracy"])
    print(f"\n{name}: test accuracy in percent after {settings.epochs} epochs on 1,000 images, mean of 5 seeds")
    for insertion, values in accuracies.items():
        gains = [mine - plain for mine, plain in zip(values, accuracies["plain"], strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5
        print(
            f"  {insertion:28s} {statistics.mean(values):6.2f}  gain {statistics.mean(gains):+.2f} "
            f"(standard error {error:.2f}; by seed {', '.join(f'{gain:+.1f}' for gain in gains)})"
        )
    assert all(statistics.mean(values) > 75 for values in accuracies.values())
