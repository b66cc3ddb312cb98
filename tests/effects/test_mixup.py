from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from hypertune.effects.mixup import EFFECT, symmetric_beta
from hypertune.effects.pipeline import Effects


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 0.8, 1.0])
def test_weights_follow_scipys_beta(alpha: float) -> None:
    draws = symmetric_beta(torch.full((4000,), alpha), generator(3)).double().numpy()
    assert ((draws >= 0) & (draws <= 1)).all()
    assert (draws > 0.5).mean() == pytest.approx(0.5, abs=0.03)
    # float32 has no numbers just below 1, so the upper half is compared as its mirror image.
    lower = np.where(draws > 0.5, 1 - draws, draws)
    lower = lower[lower > 1e-6]
    beta = stats.beta(alpha, alpha)
    below = beta.cdf(1e-6)
    assert stats.kstest(lower, lambda x: (beta.cdf(x) - below) / (0.5 - below)).pvalue > 0.01
    assert len(lower) / 4000 == pytest.approx(1 - 2 * below, abs=0.03)


def test_each_example_has_its_own_alpha() -> None:
    alpha = torch.tensor([0.1, 0.4, 1.0]).repeat_interleave(4000)
    draws = symmetric_beta(alpha, generator(1))
    for value, part in zip((0.1, 0.4, 1.0), draws.split(4000), strict=True):
        assert part.double().var().item() == pytest.approx(1 / (4 * (2 * value + 1)), rel=0.04)
        alone = symmetric_beta(torch.full((12000,), value), generator(1))
        assert torch.equal(part, alone[alpha == value])


def test_down_to_alpha_0_a_draw_is_a_number() -> None:
    draws = symmetric_beta(torch.tensor([0.0, 1e-30, 1e-6, 1e-3]).repeat(1000), generator())
    assert torch.isfinite(draws).all()
    assert (draws[::4] == 1).all()
    coin = draws[2::4]
    assert (torch.minimum(coin, 1 - coin) < 1e-6).float().mean() > 0.99
    assert coin.mean().item() == pytest.approx(0.5, abs=0.06)


def test_a_mixture_is_of_the_example_and_its_partner() -> None:
    n = 64
    x = torch.eye(n, dtype=torch.float64)
    mixed = EFFECT.mix(x, torch.arange(n), {"mixup": torch.tensor(1.0)}, generator())
    assert torch.equal(mixed.partner.sort().values, torch.arange(n))  # everyone is a partner once
    assert (mixed.weight >= 0.5).all()
    expected = torch.zeros_like(x)
    for row in range(n):
        expected[row, row] += mixed.weight[row].item()
        expected[row, mixed.partner[row]] += 1 - mixed.weight[row].item()
    torch.testing.assert_close(mixed.x, expected, rtol=0, atol=1e-7)
    assert stats.kstest((2 * mixed.weight - 1).numpy(), "uniform").pvalue > 0.01  # Beta(1, 1), folded


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loss_is_that_of_the_mixed_targets(dtype: torch.dtype) -> None:
    effects = Effects(["mixup"], seed=1)
    x = torch.randn(32, 5, generator=generator(), dtype=dtype)
    y = torch.randint(4, (32,), generator=generator(1))
    batch = effects.apply(x, y, {"mixup": 0.7})
    outputs = torch.randn(32, 4, generator=generator(2), dtype=dtype)
    losses = effects.example_losses(cross_entropy, outputs, batch, {"mixup": 0.7})
    assert batch.mixed is not None
    weight = batch.mixed.weight.to(dtype)[:, None]
    soft = weight * functional.one_hot(y, 4) + (1 - weight) * functional.one_hot(batch.mixed.partner, 4)
    expected = functional.cross_entropy(outputs, soft, reduction="none")
    assert losses.dtype == dtype
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)


def test_regression_targets_mix_too() -> None:
    effects = Effects(["mixup"], seed=1)
    x, y = torch.randn(8, 3, generator=generator()), torch.randn(8, 2, generator=generator(1))
    batch = effects.apply(x, y, {"mixup": 0.7})
    outputs = torch.randn(8, 2, generator=generator(2))

    def squares(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(dim=1)

    assert batch.mixed is not None
    weight = batch.mixed.weight
    expected = weight * squares(outputs, y) + (1 - weight) * squares(outputs, batch.mixed.partner)
    torch.testing.assert_close(effects.example_losses(squares, outputs, batch, {"mixup": 0.7}), expected)


def test_smoothing_applies_to_both_targets() -> None:
    values = {"mixup": 0.9, "label_smoothing": 0.2}
    effects = Effects(values, seed=1)
    x, y = torch.randn(16, 3, generator=generator()), torch.randint(4, (16,), generator=generator(1))
    batch = effects.apply(x, y, values)
    outputs = torch.randn(16, 4, generator=generator(2))
    assert batch.mixed is not None
    weight = batch.mixed.weight[:, None]
    soft = weight * functional.one_hot(y, 4) + (1 - weight) * functional.one_hot(batch.mixed.partner, 4)
    expected = functional.cross_entropy(outputs, 0.8 * soft + 0.2 / 4, reduction="none")
    torch.testing.assert_close(effects.example_losses(cross_entropy, outputs, batch, values), expected)
