"""What hypercomplex weights cost: assembly against the sum of Kronecker products, and the whole layer against a plain
one. 64 to 64 channels, n = 4, 3 x 3, batch 32, 16 x 16 cells, one thread, processor time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hypertune.families.phnn import PHConv2d
from hypertune.kernels.phm_weight import phm_weight

sys.path.insert(0, str(Path(__file__).parent))
from comparison.step_cost import StepTimes, interleaved, peak_memory

N, CHANNELS, KERNEL, BATCH, SIDE = 4, 64, 3, 32, 16
pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def kronecker_sum(A: Tensor, F: Tensor) -> Tensor:
    """Form every A_i kron F_i, then add them up: the definition, as the paper's own code computes it."""
    products = A[:, :, None, :, None, None, None] * F[:, None, :, None]
    return products.flatten(3, 4).flatten(1, 2).sum(dim=0)


def report(title: str, times: Mapping[str, StepTimes]) -> None:
    print(f"\n{title}")
    for name, cost in times.items():
        low, high = cost.quartiles
        print(f"  {name:28s} {1e3 * cost.seconds:8.3f} ms  {cost.ratio:.3f}x ({low:.3f}-{high:.3f})")


def timed(steps: Mapping[str, Callable[[], object]], *, rounds: int, repeats: int) -> dict[str, StepTimes]:
    torch.set_num_threads(1)
    return interleaved(steps, rounds=rounds, repeats=repeats, warmup=3, clock=time.process_time)


def test_assembly_is_faster_and_leaner_than_the_sum_of_kronecker_products() -> None:
    torch.manual_seed(0)
    layer = PHConv2d(N, CHANNELS, CHANNELS, KERNEL)
    A, F, probe = layer.A, layer.F, torch.randn_like(layer.weight())
    torch.testing.assert_close(kronecker_sum(A, F), phm_weight(A, F))

    def with_gradients(assemble: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(assemble(A, F), (A, F), probe)

    times = timed(
        {"assembly": with_gradients(phm_weight), "sum of Kronecker products": with_gradients(kronecker_sum)},
        rounds=40,
        repeats=10,
    )
    report("assembly, forward and backward", times)

    weight = probe.numel() * probe.element_size()
    between = {
        name: peak_memory(lambda assemble=assemble: lambda: assemble(A, F)) - weight
        for name, assemble in (("assembly", phm_weight), ("sum of Kronecker products", kronecker_sum))
    }
    whole = {
        name: peak_memory(lambda assemble=assemble: with_gradients(assemble))
        for name, assemble in (("assembly", phm_weight), ("sum of Kronecker products", kronecker_sum))
    }
    for name in between:
        print(
            f"  {name:28s} intermediates {between[name] / weight:.2f} weights; peak with backward "
            f"{whole[name] / weight:.2f} weights"
        )
    assert times["sum of Kronecker products"].ratio >= 2.5
    assert between["assembly"] <= between["sum of Kronecker products"] / N


def test_a_hypercomplex_convolution_costs_what_a_plain_one_costs() -> None:
    torch.manual_seed(0)
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, requires_grad=True)
    layers: dict[str, nn.Module] = {
        "plain": nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding=1),
        "learned, n = 4": PHConv2d(N, CHANNELS, CHANNELS, KERNEL, padding=1),
        "quaternion": PHConv2d(N, CHANNELS, CHANNELS, KERNEL, padding=1, algebra="quaternion"),
    }

    def step(layer: nn.Module) -> Callable[[], object]:
        inputs = [x, *layer.parameters()]
        return lambda: torch.autograd.grad(layer(x).sum(), inputs)

    times = timed({name: step(layer) for name, layer in layers.items()}, rounds=15, repeats=1)
    report("convolution, forward and backward", times)
    assert times["learned, n = 4"].ratio <= 1.05
    assert times["quaternion"].ratio <= 1.05


@pytest.mark.parametrize(("batch", "side"), [(BATCH, SIDE), (1, 8)])
def test_evaluation_keeps_the_weight(batch: int, side: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, CHANNELS, side, side)
    plain = nn.Conv2d(CHANNELS, CHANNELS, KERNEL, padding=1).eval()
    layer = PHConv2d(N, CHANNELS, CHANNELS, KERNEL, padding=1).eval()

    def assembled() -> Tensor:
        return nn.functional.conv2d(x, layer.weight(), layer.bias, padding=1)

    with torch.no_grad():
        times = timed(
            {"plain": lambda: plain(x), "kept weight": lambda: layer(x), "assembled each time": assembled},
            rounds=20,
            repeats=2,
        )
    report(f"convolution in eval, batch {batch}, {side} x {side}", times)
    if batch == BATCH:
        assert times["kept weight"].ratio <= 1.05
    else:
        assert times["kept weight"].ratio < times["assembled each time"].ratio
