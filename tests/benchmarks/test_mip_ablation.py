"""What the constant norm and the residual do for a hypernetwork's training, after the paper's ablation.

[Ortiz24] Ortiz, Guttag, Dalca. Magnitude Invariant Parametrizations Improve Hypernetwork Learning. ICLR 2024, arXiv
2304.07645, sections 3.1 and 5. Five seeds, three learning rates: steps to the final loss of the network without either,
and the spread of the final losses over the learning rates. The figure shows the norm of the predicted weights against
the norm of the hypernetwork's input.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn import functional

from hypertune.families.mlp import FAMILY as MLP
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.tasks.mnist5k import mnist5k
from hypertune.training._mip_loop import HypernetworkLoop
from hypertune.training._mip_setup import Setup
from hypertune.training.mip import HypernetworkSettings
from hypertune.training.settings import TrainingSettings

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2, 3, 4)
RATES = (3e-4, 1e-3, 3e-3)
PASSES = 30
SETTINGS = TrainingSettings(epochs=PASSES, batch_size=100, device="cpu")
# No weight decay: its penalty, which spans decades, would drown the differences that are looked for.
SPACE = SearchSpace.from_mapping(
    {
        "dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "input_dropout": {"type": "float", "low": 0.0, "high": 0.5},
        "input_noise": {"type": "float", "low": 0.0, "high": 0.5},
    }
)
VARIANTS = {
    "neither": {"encoding": "raw", "residual": False},
    "encoding": {"encoding": "mip", "residual": False},
    "residual": {"encoding": "raw", "residual": True},
    "MIP": {"encoding": "mip", "residual": True},
}


def _task(seed: int) -> Task:
    task = mnist5k(n_train=1000, n_val=500, n_test=100, split_seed=seed)

    def halved(split: TensorSplit) -> TensorSplit:
        return TensorSplit(functional.avg_pool2d(split.x, 2), split.y)

    parts = {name: halved(getattr(task, name)) for name in ("train", "val", "test")}
    return replace(task, spec=replace(task.spec, input_shape=(1, 14, 14)), **parts)


def _setup(task: Task, variant: str, rate: float, seed: int) -> Setup:
    options = HypernetworkSettings(epochs=PASSES, head="full", hidden=(16, 32), draws=4, lr=rate, **VARIANTS[variant])
    return Setup(MLP, task, SPACE, SETTINGS, options, {"width": 64, "depth": 1}, seed)


def _losses(task: Task, variant: str, rate: float, seed: int) -> list[float]:
    setup = _setup(task, variant, rate, seed)
    torch.manual_seed(seed)
    loop = HypernetworkLoop(
        setup.network(),
        setup.task,
        setup.options,
        passes=PASSES,
        batch_size=100,
        constants={},
        device=torch.device("cpu"),
        seed=seed,
    )
    return [loop.run_pass() for _ in range(PASSES)]


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_steps_to_the_loss_without(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    curves: dict[tuple[str, float, int], list[float]] = {}
    for seed in SEEDS:
        task = _task(seed)
        for variant in VARIANTS:
            for rate in RATES:
                curves[variant, rate, seed] = _losses(task, variant, rate, seed)
    lines = [f"\ntraining loss over the space, {PASSES} passes of 10 steps, {len(SEEDS)} seeds, median (quartiles)"]
    shares: dict[str, list[float]] = {}
    for variant in VARIANTS:
        # Over the seeds and learning rates: which part of the passes takes it to where "neither" ends.
        shares[variant] = [
            next((k + 1 for k, x in enumerate(curves[variant, r, s]) if x <= curves["neither", r, s][-1]), 2 * PASSES)
            / PASSES
            for r in RATES
            for s in SEEDS
        ]
        finals = {rate: statistics.median(curves[variant, rate, seed][-1] for seed in SEEDS) for rate in RATES}
        low, middle, high = np.quantile(shares[variant], (0.25, 0.5, 0.75))
        lines.append(
            f"{variant:9s} share of the steps {middle:.2f} ({low:.2f} to {high:.2f})   final loss "
            + "  ".join(f"lr {rate:g}: {loss:.3f}" for rate, loss in finals.items())
            + f"   spread {max(finals.values()) / min(finals.values()):.2f}x"
        )
    with capsys.disabled():
        print("\n".join(lines))
    assert statistics.median(shares["MIP"]) <= 0.5


@pytest.mark.bench
def test_magnitude_of_weights_and_inputs() -> None:
    """Without an encoding and without biases, whose start is 0, the weights grow in proportion to the input."""
    task = _task(0)
    along = np.linspace(0.02, 1.0, 25)
    points = torch.tensor(along, dtype=torch.float32)[:, None].expand(-1, len(SPACE))
    figure, axes = plt.subplots(figsize=(5, 3.5))
    norms = {}
    for variant in VARIANTS:
        network = _setup(task, variant, 1e-3, 0).network().eval()
        with torch.no_grad():
            generated = network.generated(points)
        norms[variant] = torch.cat([part.flatten(1) for part in generated.values()], dim=1).norm(dim=1).numpy()
        axes.plot(along * np.sqrt(len(SPACE)), norms[variant], label=variant)
    axes.set_xlabel("norm of the hyperparameters")
    axes.set_ylabel("norm of the predicted weights, at the start")
    axes.set_ylim(bottom=0)
    axes.legend()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "mip_magnitude.png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    neither = norms["neither"]
    np.testing.assert_allclose(neither / neither[-1], along, rtol=1e-4)
    assert norms["MIP"].max() / norms["MIP"].min() < 1.05
