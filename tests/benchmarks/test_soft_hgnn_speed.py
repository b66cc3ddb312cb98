"""What the soft hyperedges cost beside the same equations written down as they stand."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypertune.families._soft_hyperedge import SoftHyperedges

sys.path.insert(0, str(Path(__file__).parent))
from comparison.step_cost import interleaved, peak_memory


class AsWritten(nn.Module):
    """Vertices are projected, heads are split, their similarities averaged; every product stands where it is written."""

    def __init__(self, width: int, hyperedges: int, heads: int) -> None:
        super().__init__()
        self.heads, self.hyperedges = heads, hyperedges
        self.prototypes = nn.Parameter(torch.randn(hyperedges, width))
        self.context = nn.Linear(2 * width, hyperedges * width)
        self.projection = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.1)
        self.edge = nn.Linear(width, width)
        self.vertex = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, n, width = x.shape
        context = torch.cat((x.mean(dim=1), x.max(dim=1).values), dim=1)
        prototypes = self.prototypes + self.context(context).view(batch, self.hyperedges, width)
        size = width // self.heads
        vertices = self.projection(x).view(batch, n, self.heads, size).transpose(1, 2)
        prototypes = prototypes.view(batch, self.hyperedges, self.heads, size).transpose(1, 2)
        logits = (vertices @ prototypes.transpose(2, 3) / math.sqrt(size)).mean(dim=1)
        participation = torch.softmax(self.dropout(logits), dim=1)
        features = functional.gelu(self.edge(torch.bmm(participation.transpose(1, 2), x)))
        return x + functional.gelu(self.vertex(torch.bmm(participation, features)))


def _step(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    layer.train()

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).square().mean().backward()

    return step


# (vertices, width, hyperedges): 8 x 8 and 28 x 28 images in patches of 2 or 4, a feature map of 14 x 14 cells.
SIZES = [(16, 32, 16), (49, 64, 16), (49, 64, 64), (196, 64, 32), (196, 128, 64)]


@pytest.mark.bench
@pytest.mark.parametrize(("vertices", "width", "hyperedges"), SIZES)
def test_costs_no_more_than_the_equations_as_written(vertices: int, width: int, hyperedges: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(64, vertices, width, requires_grad=True)
    top_k = hyperedges // 4
    steps = {
        "as written": lambda: _step(AsWritten(width, hyperedges, 8), x),
        "dense": lambda: _step(SoftHyperedges(width, hyperedges, heads=8), x),
        f"top {top_k}": lambda: _step(SoftHyperedges(width, hyperedges, heads=8, top_k=top_k), x),
    }
    times = interleaved(
        {name: make() for name, make in steps.items()}, rounds=15, repeats=2, warmup=2, clock=time.process_time
    )
    memory = {name: peak_memory(make) for name, make in steps.items()}
    print(f"\nforward and backward, batch 64, N {vertices}, D {width}, M {hyperedges}, 8 heads, CPU time, one thread")
    for name, cost in times.items():
        low, high = cost.quartiles
        peak = memory[name] / memory["as written"]
        print(
            f"  {name:12s} {1e3 * cost.seconds:7.1f} ms  {cost.ratio:.2f}x ({low:.2f}-{high:.2f})  memory {peak:.2f}x"
        )
    assert times["dense"].ratio <= 1.0
    assert memory["dense"] < memory["as written"]
