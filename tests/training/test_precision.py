from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from hypertune.errors import ConfigError
from hypertune.training.precision import Precision

CPU = torch.device("cpu")


class Probe(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.inner: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.linear(x)
        self.inner = outputs.dtype
        return outputs


@pytest.mark.parametrize(("name", "inner"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_forward_computes_in_the_type_and_returns_float32(name: str, inner: torch.dtype) -> None:
    model = Probe()
    outputs = Precision(name, CPU).forward(model, torch.ones(4, 3))
    assert model.inner == inner
    assert outputs.dtype == torch.float32
    assert model.linear.weight.dtype == torch.float32


def test_float64_models_stay_float64() -> None:
    outputs = Precision("float32", CPU).forward(nn.Linear(3, 2).double(), torch.ones(1, 3, dtype=torch.float64))
    assert outputs.dtype == torch.float64


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_float16_is_refused_off_cuda(device: str) -> None:
    with pytest.raises(ConfigError, match="bfloat16") as caught:
        Precision("float16", torch.device(device))
    assert caught.value.where == "trial.dtype"


@pytest.mark.parametrize(("clip", "length"), [(None, 5.0), (0.5, 0.5), (9.0, 5.0)])
def test_step_clips_the_global_norm(clip: float | None, length: float) -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(2))
    optimizer = SGD([a, b], lr=1.0)
    a.grad = torch.full((1,), 100.0)  # left over from before: reset, not added to
    Precision("float32", CPU).step(3 * a.sum() + 4 * b[1], optimizer, [a, b], clip)
    moved = torch.cat([a.detach(), b.detach()])
    assert moved.norm().item() == pytest.approx(length, rel=1e-5)
    torch.testing.assert_close(moved / moved.norm(), torch.tensor([-0.6, 0.0, -0.8]))
