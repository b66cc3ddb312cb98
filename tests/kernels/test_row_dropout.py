"""``row_dropout`` and ``row_noise``: the reference path, the numbers of the Triton path, and its interpreted kernels.

The interpreted kernels are equal to the operators' fallback, Philox in PyTorch, so the statistics are of that.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hypertune.kernels import _dispatch
from hypertune.kernels import row_dropout as module
from hypertune.kernels.row_dropout import row_dropout, row_dropout_reference, row_noise, tile


def drawn(operator: str, x: Tensor, strength: Tensor, seed: int = 0) -> Tensor:
    """What the registered operator makes of rows, whatever the device."""
    torch.manual_seed(seed)
    return module._by_rows(getattr(module, operator), x, strength, None)


def test_parity_in_the_interpreter(run_interpreted: Callable[[str], None]) -> None:
    run_interpreted("row_dropout")


def test_each_row_is_dropped_at_its_rate() -> None:
    rates = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.9999])
    y = drawn("_dropout", torch.ones(5, 200_000), rates[:, None])
    found = 1 - (y != 0).double().mean(1)
    # Five standard deviations.
    assert (found - rates).abs().le(5 * (rates * (1 - rates) / 200_000).sqrt() + 1e-12).all()
    assert (y.double().mean(1) - 1).abs()[:4].le(5 * (rates / (1 - rates) / 200_000).sqrt()[:4] + 1e-6).all()


def test_entries_are_dropped_independently_of_one_another() -> None:
    kept = (drawn("_dropout", torch.ones(50, 20_000), torch.full((50, 1), 0.5)) != 0).double() * 2 - 1
    rows = (kept @ kept.T / 20_000).fill_diagonal_(0)
    # 1,225 pairs: 5.5 standard deviations stay below one chance in ten thousand.
    assert rows.abs().max() < 5.5 / 20_000**0.5
    for lag in (1, 2, 3, 4, 5, 128, 1024):
        pairs = kept[:, lag:] * kept[:, :-lag]
        assert pairs.mean().abs() < 5 / pairs.numel() ** 0.5, lag
    columns = kept[:, :50].T @ kept[:, :50] / 50
    assert columns.fill_diagonal_(0).abs().max() < 5.5 / 50**0.5


def test_noise_is_standard_normal_and_independent() -> None:
    noise = drawn("_noise", torch.zeros(20, 50_000), torch.ones(20, 1)).double()
    count = noise.numel()
    # The standard deviations of the first four moments of normal numbers.
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert (noise.pow(power).mean() - mean).abs() < 5 * (variance / count) ** 0.5, power
    for lag in (1, 2, 3, 4):
        pairs = noise[:, lag:] * noise[:, :-lag]
        assert pairs.mean().abs() < 5 / pairs.numel() ** 0.5, lag
    assert (noise.abs() > 1.959964).double().mean().sub(0.05).abs() < 5 * (0.05 * 0.95 / count) ** 0.5


def test_the_mask_is_the_same_backward_and_a_seed_repeats_it() -> None:
    x = torch.randn(4, 1001, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rate = torch.full((4, 1), 0.5)
    y = drawn("_dropout", x, rate)
    (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert torch.equal(dx != 0, y.detach() != 0)
    assert torch.equal(y, drawn("_dropout", x, rate))
    assert not torch.equal(y, drawn("_dropout", x, rate, seed=1))


def test_no_mask_is_kept_for_the_backward_pass() -> None:
    x = torch.ones(4, 1000, requires_grad=True)
    y = drawn("_dropout", x, torch.full((4, 1), 0.5))
    node = y.grad_fn
    held = []
    while node is not None:
        held += [kept for kept in getattr(node, "saved_tensors", ()) if kept is not None]
        node = next((parent for parent, _ in node.next_functions if parent is not None), None)
    assert held
    assert max(kept.numel() for kept in held) == 4


def test_the_gradient_of_the_rate_is_that_of_the_reference() -> None:
    x = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    rate = torch.tensor([[0.1], [0.5], [0.8]], requires_grad=True)
    y = drawn("_dropout", x, rate)
    (found,) = torch.autograd.grad(y.sum(), rate)
    mask = (y.detach() != 0).float()
    (expected,) = torch.autograd.grad((x * mask / (1 - rate)).sum(), rate)
    torch.testing.assert_close(found, expected)


def test_the_cpu_draws_as_torch_does() -> None:
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    rate = torch.tensor([[0.1], [0.5], [0.8]])
    torch.manual_seed(5)
    found = row_dropout(x, rate)
    torch.manual_seed(5)
    assert torch.equal(found, x * ((torch.rand(3, 4) >= rate) / (1 - rate)))
    generator = torch.Generator().manual_seed(5)
    found = row_noise(x, rate, generator=generator)
    assert torch.equal(found, x + rate * torch.randn(3, 4, generator=generator.manual_seed(5)))
    assert {_dispatch.taken()[name].path for name in ("row_dropout", "row_noise")} == {"reference"}


def test_rates_of_zero_and_one_on_the_reference_path() -> None:
    x = torch.ones(2, 50)
    rate = torch.tensor([[0.0], [1.0]], requires_grad=True)
    y = row_dropout_reference(x, rate)
    assert torch.equal(y, torch.tensor([1.0, 0.0])[:, None].expand(2, 50))
    (slope,) = torch.autograd.grad(y.sum(), rate)
    assert slope[1] == 0
    fallback = drawn("_dropout", x, rate)
    assert torch.equal(fallback, y)
    (slope,) = torch.autograd.grad(fallback.sum(), rate)
    assert torch.equal(slope, torch.tensor([[50.0], [0.0]]))


def test_complex_noise_is_circular() -> None:
    torch.manual_seed(0)
    noise = row_noise(torch.zeros(1, 100_000, dtype=torch.complex64), torch.ones(1, 1))
    for part in (noise.real, noise.imag):
        assert (part.square().mean() - 0.5).abs() < 5 * 0.5 * (2 / 100_000) ** 0.5


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("inner", [1, 2, 5, 10, 33, 64, 100, 300, 1000, 1024, 5000, 10**6])
def test_a_tile_wastes_little(inner: int, itemsize: int) -> None:
    rows, columns = tile(inner, itemsize)
    assert rows * columns * itemsize == 4096
    assert columns % 4 == 0
    covered = -(-inner // columns) * columns
    assert covered <= 1.25 * inner or columns <= 32


@pytest.mark.parametrize(
    ("shape", "strength", "dtype", "why"),
    [
        ((3, 4), (3, 4), torch.float32, "several axes"),
        ((3, 4), (3,), torch.float32, "several axes"),
        ((3, 4), (3, 1), torch.float64, "dtype"),
        ((3, 4), (3, 1), torch.complex64, "dtype"),
        ((), (), torch.float32, "number"),
    ],
)
def test_what_no_kernel_is_for(shape: tuple[int, ...], strength: tuple[int, ...], dtype: torch.dtype, why: str) -> None:
    assert why in str(module._unfit(torch.empty(shape, dtype=dtype), torch.empty(strength)))
