"""``soft_hyperedge`` on the reference path, its tiles, and its Triton path in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypertune.kernels import _dispatch
from hypertune.kernels import soft_hyperedge as module
from hypertune.kernels.soft_hyperedge import soft_hyperedge

CPU = torch.device("cpu")


def arguments(selected: int | None = None, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    return module._arguments(0, dtype, CPU, examples=2, vertices=9, hyperedges=5, width=6, selected=selected)


def test_parity_with_float64_in_the_interpreter(run_interpreted: Callable[[str], None]) -> None:
    run_interpreted("soft_hyperedge")


@pytest.mark.parametrize("selected", [None, 3])
def test_equals_the_equations(selected: int | None) -> None:
    prototypes, x, chosen, _, _ = arguments(selected)
    features, participation = soft_hyperedge(prototypes, x, chosen, nn.Dropout(0.0))
    assert _dispatch.taken()["soft_hyperedge"].path == "reference"
    for example in range(2):
        rows = range(5) if chosen is None else chosen[example].tolist()
        back = torch.zeros_like(x[example])
        for position, m in enumerate(rows):
            powers = (x[example] @ prototypes[example, m]).exp()
            shares = powers / powers.sum()
            torch.testing.assert_close(features[example, position], shares @ x[example])
            back += shares[:, None] * features[example, position]
        torch.testing.assert_close(participation.spread(features)[example], back)


@pytest.mark.parametrize("selected", [None, 3])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_the_fallbacks_written_out_gradients_are_those_of_autograd(selected: int | None, rate: float) -> None:
    prototypes, x, chosen, _, _ = arguments(selected)
    seed = torch.tensor([5]) if rate else None
    features, logs = module._plain_gather(prototypes, x, chosen, seed, rate)
    upstream, of_logs = torch.randn_like(features), torch.randn_like(logs)
    right = torch.autograd.grad((features, logs), (prototypes, x), (upstream, of_logs))
    plain = (prototypes.detach(), x.detach(), chosen)
    made = module._gather_backward(upstream, of_logs, *plain, seed, features.detach(), logs.detach(), rate)
    for a, b in zip(made, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    values, leaves = features.detach().requires_grad_(), logs.detach().requires_grad_()
    messages = module._plain_spread(prototypes, x, chosen, values, leaves, seed, rate)
    upstream = torch.randn_like(messages)
    right = torch.autograd.grad(messages, (prototypes, x, values, leaves), upstream)
    made = module._spread_backward(upstream, *plain, values.detach(), leaves.detach(), seed, rate)
    for a, b in zip(made, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_a_dropout_of_ones_own_is_called_with_the_similarities() -> None:
    class Doubling(nn.Module):
        def forward(self, similarities: Tensor) -> Tensor:
            assert similarities.shape == (2, 5, 9)
            return 2 * similarities

    prototypes, x, *_ = arguments()
    made = soft_hyperedge(prototypes, x, None, Doubling())[0]
    torch.testing.assert_close(made, soft_hyperedge(2 * prototypes, x, None, nn.Dropout(0.0))[0])


def test_what_no_kernel_is_for() -> None:
    prototypes, x, chosen, _, _ = (t.detach() if isinstance(t, Tensor) else t for t in arguments(3, torch.float32))
    plain = nn.Dropout(0.1)
    assert module._unless(prototypes, x, chosen, plain) is None
    hooked = nn.Dropout(0.1)
    hooked.register_forward_hook(lambda *_: None)
    for dropout in (hooked, nn.Identity(), nn.AlphaDropout()):
        assert "plain nn.Dropout" in str(module._unless(prototypes, x, chosen, dropout))
    assert "neither" in str(module._unless(prototypes.double(), x.double(), chosen, plain))
    assert "differ" in str(module._unless(prototypes.half(), x, chosen, plain))
    assert "nothing" in str(module._unless(prototypes, x[:, :0], chosen, plain))
    wide = torch.zeros(1, 4, 129)
    assert "129" not in str(module._unless(wide.half(), wide.half(), None, plain))
    assert "registers" in str(module._unless(wide, wide, None, plain))
    many = torch.zeros(1, 1, 8)
    expanded = many.expand(1, 2**20, 8)
    assert "2**33" in str(module._unless(expanded, expanded, None, plain))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [1, 16, 64, 100, 128])
def test_tiles_fit_into_registers(width: int, dtype: torch.dtype) -> None:
    launch = pytest.importorskip("hypertune.kernels._soft_hyperedge_launch")
    for kernel in launch._KERNELS:
        size = launch.tile(kernel, 80, 1000, width, dtype)
        assert size.width >= max(width, 16)
        assert size.hyperedges >= 16
        assert size.vertices >= 16
        held = size.hyperedges if kernel in launch._BY_HYPEREDGE else size.vertices
        accumulators = 2 if kernel == "spread_hyperedge_gradient" else 1
        # Numbers of a thread that live through the loop.
        assert accumulators * held * size.width / (32 * size.num_warps) <= 128
        small = launch.tile(kernel, 2, 3, width, dtype)
        assert (small.hyperedges, small.vertices) == (16, 16)
