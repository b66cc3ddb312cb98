"""Complex layers beside four real convolutions and elementwise normalization; complex networks beside real twins.

`make bench`, or `pytest -m bench tests/benchmarks/test_complex_speed.py -s`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.families._complex_activations import CReLU
from hypertune.families._complex_convolution import ComplexConv1d, ComplexConv2d
from hypertune.families._complex_normalization import ComplexBatchNorm
from hypertune.families.cmusenet import FAMILY as CMUSENET
from hypertune.records import Assignment
from hypertune.tasks.rf_spectrum import rf_spectrum
from hypertune.training.fit import fit
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial

sys.path.insert(0, str(Path(__file__).parent))
from comparison.step_cost import StepTimes, interleaved

pytestmark = pytest.mark.bench

SHAPES = {
    "2-D, 64 to 64, 3 x 3, batch 32, 16 x 16": (ComplexConv2d, 64, 64, 3, (32, 64, 16, 16)),
    "2-D, 16 to 16, 3 x 3, batch 32, 28 x 28": (ComplexConv2d, 16, 16, 3, (32, 16, 28, 28)),
    "2-D, 1 to 16, 3 x 3, batch 32, 28 x 28": (ComplexConv2d, 1, 16, 3, (32, 1, 28, 28)),
    "1-D, 16 to 16, 3, batch 64, 256": (ComplexConv1d, 16, 16, 3, (64, 16, 256)),
}


class FourConvolutions(nn.Module):
    """The yardstick: each part of the weight on each part of the input."""

    def __init__(self, layer: ComplexConv1d | ComplexConv2d) -> None:
        super().__init__()
        self.real, self.imag = (nn.Parameter(part.detach().clone()) for part in (layer.weight.real, layer.weight.imag))
        self.convolve = functional.conv1d if layer.spatial == 1 else functional.conv2d

    def forward(self, x: Tensor) -> Tensor:
        def run(part: Tensor, weight: Tensor) -> Tensor:
            return self.convolve(part, weight, padding=1)

        return torch.complex(
            run(x.real, self.real) - run(x.imag, self.imag), run(x.real, self.imag) + run(x.imag, self.real)
        )


class SeparateNormalization(nn.Module):
    """The yardstick: whitening as arithmetic on the parts, step by step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5**0.5, 0.5**0.5, 0.0]).repeat(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 2))

    def forward(self, x: Tensor) -> Tensor:
        axes, shape = (0, *range(2, x.dim())), (1, -1, *(1,) * (x.dim() - 2))
        real, imag = x.real, x.imag
        real, imag = real - real.mean(axes, keepdim=True), imag - imag.mean(axes, keepdim=True)
        rr = real.square().mean(axes, keepdim=True) + 1e-5
        ii = imag.square().mean(axes, keepdim=True) + 1e-5
        ri = (real * imag).mean(axes, keepdim=True)
        s = (rr * ii - ri.square()).sqrt()
        scale = 1 / (s * (rr + ii + 2 * s).sqrt())
        u = ((ii + s) * real - ri * imag) * scale
        v = ((rr + s) * imag - ri * real) * scale
        a, b, c = (entry.reshape(shape) for entry in self.weight.unbind(1))
        d, e = (entry.reshape(shape) for entry in self.bias.unbind(1))
        return torch.complex(a * u + c * v + d, c * u + b * v + e)


class SeparateCReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(x.real.relu(), x.imag.relu())


def _step(module: nn.Module, shape: tuple[int, ...]) -> Callable[[], object]:
    x = torch.randn(shape, dtype=torch.complex64, requires_grad=True)
    leaves = (x, *module.parameters())
    probe = torch.randn_like(module(x))
    return lambda: torch.autograd.grad(module(x), leaves, probe)


def _timed(steps: Mapping[str, Callable[[], object]]) -> StepTimes:
    return interleaved(steps, rounds=25, repeats=2, warmup=3, clock=time.process_time)["ours"]


def _printed(title: str, cost: StepTimes) -> float:
    slow, fast = cost.quartiles
    print(
        f"  {title:42s} {1e3 * cost.seconds:6.1f} ms  {1 / cost.ratio:.2f}x as fast ({1 / fast:.2f} to {1 / slow:.2f})"
    )
    return 1 / cost.ratio


def test_complex_layers_are_faster_than_their_parts(capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    gains = {}
    with capsys.disabled():
        print("\nforward and backward on one core, CPU time, against four convolutions and arithmetic on the parts")
        for title, (kind, inputs, outputs, size, shape) in SHAPES.items():
            layer = kind(inputs, outputs, size, padding=1, bias=False)
            yardstick = FourConvolutions(layer)
            torch.testing.assert_close(layer(x := torch.randn(shape, dtype=torch.complex64)), yardstick(x))
            steps = {"yardstick": _step(yardstick, shape), "ours": _step(layer, shape)}
            alone = _printed(f"convolution: {title}", _timed(steps))
            ours = nn.Sequential(layer, ComplexBatchNorm(outputs), CReLU())
            theirs = nn.Sequential(yardstick, SeparateNormalization(outputs), SeparateCReLU())
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-4)
            steps = {"yardstick": _step(theirs, shape), "ours": _step(ours, shape)}
            gains[title] = (alone, _printed("  with normalization and activation", _timed(steps)))
    for title, (alone, together) in gains.items():
        assert alone >= 1.2, title
        assert together >= 1.3, title


SEEDS = (0, 1, 2)
LOW = {"snr_low": -20.0, "snr_high": 0.0}


@pytest.mark.timeout(7200)
def test_complex_and_real_networks_at_low_signal_to_noise_ratio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same width, epochs and learning rate for all; the real twins are trained on the same loss."""
    torch.set_num_threads(1)
    settings = TrainingSettings(device="cpu", epochs=12, batch_size=64, metric="val/loss")
    found: dict[str, list[Mapping[str, float]]] = {}
    for seed in SEEDS:
        task = rf_spectrum(n_train=1000, n_val=300, n_test=600, split_seed=seed, **LOW)
        for kind in ("complex", "real", "real_doubled"):
            params = {"kind": kind, "width": 12, "depth": 4, "lr": 0.005, "optimizer": "adam", "lr_schedule": "cosine"}
            begun = time.process_time()
            trial = Trial(Assignment(seed, params, seed, str(tmp_path / f"{kind}{seed}")), lambda report: False)
            metrics = dict(fit(trial, CMUSENET, task, settings).metrics)
            found.setdefault(kind, []).append({**metrics, "seconds": time.process_time() - begun})
    with capsys.disabled():
        print(f"\nrf_spectrum at -20 to 0 dB, {len(SEEDS)} seeds, 12 epochs of 1,000 spectra: mean (lowest to highest)")
        for kind, runs in found.items():
            for name in ("test/loss", "test/accuracy", "test/iou", "test/ciou", "seconds"):
                values = [run[name] for run in runs]
                print(f"  {kind:13s} {name:14s} {statistics.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})")
    # The occupied share is about 0.21: a network that finds nothing is right on 0.79 of the bins.
    assert all(statistics.mean(run["test/accuracy"] for run in runs) > 0.8 for runs in found.values())
