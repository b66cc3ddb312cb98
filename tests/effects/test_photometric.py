from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

Make = Callable[..., Any]


def test_brightness_moves_the_mean_uniformly_and_nothing_else(augment: Make, images: Make) -> None:
    x = images(800, 4, 5)
    moved = augment(brightness=2.5)(x) - x
    offset = moved[:, 0, 0, 0]
    torch.testing.assert_close(moved, offset[:, None, None, None].expand_as(moved), rtol=0, atol=1e-12)
    assert stats.kstest(offset.numpy(), "uniform", args=(-2.5, 5.0)).pvalue > 0.01


def test_contrast_is_a_gain_about_the_mean_even_in_its_logarithm(augment: Make, images: Make) -> None:
    x = images(800, 4, 5) + 3
    changed = augment(contrast=1.5)(x)
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), x.mean(dim=(1, 2, 3)), rtol=0, atol=1e-12)
    centred, before = changed - x.mean(dim=(1, 2, 3), keepdim=True), x - x.mean(dim=(1, 2, 3), keepdim=True)
    gain = centred.flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    torch.testing.assert_close(centred, gain[:, None, None, None] * before, rtol=0, atol=1e-12)
    exponent = gain.log() / torch.tensor(2.5, dtype=torch.float64).log()
    assert stats.kstest(exponent.numpy(), "uniform", args=(-1.0, 2.0)).pvalue > 0.01


def test_both_act_per_example_and_independently(augment: Make, images: Make) -> None:
    x = images(600, 4, 4)
    brightness, contrast = torch.rand(600) * 2, torch.rand(600) * 3
    both = augment(brightness=brightness, contrast=contrast)(x)
    parts = augment(contrast=contrast)(x) + (augment(brightness=brightness)(x) - x)
    torch.testing.assert_close(both, parts, rtol=0, atol=1e-12)
    offset = (both - x).mean(dim=(1, 2, 3))
    assert (offset.abs() <= brightness + 1e-6).all()
    gain = both.flatten(1).std(dim=1) / x.flatten(1).std(dim=1)
    assert abs(torch.corrcoef(torch.stack((offset / brightness, gain.log() / torch.log1p(contrast))))[0, 1]) < 0.13
    assert gain.log().mean().item() == pytest.approx(0, abs=0.07)
