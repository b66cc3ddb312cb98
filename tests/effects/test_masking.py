from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hypertune.effects.masking import EFFECT
from hypertune.records import TaskSpec

Make = Callable[..., Any]


def signals(n: int, length: int) -> Tensor:
    return torch.randn(n, 2, length, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("length", [24, 25])
def test_frequency_mask_takes_one_band_out_of_numpys_spectrum(augment: Make, length: int) -> None:
    x = signals(40, length)
    before = np.fft.rfft(x.numpy())
    after = np.fft.rfft(augment(frequency_mask=0.6)(x).numpy())
    kept = np.abs(after) > 1e-9
    np.testing.assert_allclose(after[kept], before[kept], rtol=0, atol=1e-10)
    assert np.array_equal(kept[:, 0], kept[:, 1])  # all channels alike
    edges = np.abs(np.diff(kept[:, 0].astype(int), axis=1)).sum(axis=1)
    assert edges.max() <= 2  # one band
    assert (~kept[:, 0]).any(axis=1).sum() > 30
    filtered = np.fft.irfft(np.where(kept, before, 0), n=length)
    np.testing.assert_allclose(augment(frequency_mask=0.6)(x).numpy(), filtered, rtol=0, atol=1e-12)


def test_time_mask_is_one_stretch_and_leaves_the_rest_alone(augment: Make) -> None:
    x = signals(500, 50)
    masked = augment(time_mask=0.4)(x)
    gone = masked == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    assert torch.equal(masked[~gone], x[~gone])
    assert ((gone[:, 0, 1:] != gone[:, 0, :-1]).sum(dim=1) <= 2).all()
    assert gone[:, 0].sum(dim=1).max() <= 0.4 * 50 + 1


def test_widths_and_places_are_uniform(augment: Make) -> None:
    length = 4000  # long enough that whole cells hide nothing
    gone = (augment(time_mask=0.5)(torch.ones(800, 1, length)) == 0)[:, 0]
    width = gone.sum(dim=1).double()
    assert stats.kstest((width / (0.5 * length)).numpy(), "uniform").pvalue > 0.01
    seen = width > 10
    start = gone.int().argmax(dim=1)[seen] / (length - width[seen])
    assert stats.kstest(start.numpy(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(start.numpy(), width[seen].numpy())[0, 1]) < 0.12


def test_time_and_frequency_masks_are_independent(augment: Make) -> None:
    length = 256
    x = torch.zeros(600, 1, length, dtype=torch.float64)
    x[:, :, 0] = 1.0  # an impulse: every frequency alike
    band = (torch.fft.rfft(augment(frequency_mask=0.8)(x)).abs() < 1e-9)[:, 0].sum(dim=1).double()
    stretch = (augment(time_mask=0.8)(torch.ones_like(x)) == 0)[:, 0].sum(dim=1).double()
    assert abs(np.corrcoef(band.numpy(), stretch.numpy())[0, 1]) < 0.13


def test_the_largest_mask_may_take_everything(augment: Make) -> None:
    gone = (augment(time_mask=1.0)(torch.ones(3000, 1, 4)) == 0)[:, 0]
    assert gone.all(dim=1).any()
    assert not gone.any(dim=1).all()


def test_only_signals_are_masked() -> None:
    assert EFFECT.problem(TaskSpec("t", "classification", (3, 24), 2)) is None
    for shape in ((24,), (1, 8, 8)):
        assert "signals" in (EFFECT.problem(TaskSpec("t", "classification", shape, 2)) or "")
