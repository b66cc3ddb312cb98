from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

Make = Callable[..., Any]


def test_noise_is_normal_with_its_standard_deviation_and_fits_any_shape(augment: Make) -> None:
    x = torch.full((200, 50), 3.0)
    noise = (augment(input_noise=0.7)(x) - x).flatten().double().numpy()
    assert stats.kstest(noise, "norm", args=(0, 0.7)).pvalue > 0.01


def test_each_example_has_its_own_standard_deviation(augment: Make) -> None:
    strength = torch.tensor([0.0, 0.1, 1.0, 10.0])
    noise = augment(input_noise=strength)(torch.zeros(4, 3, 2000))
    for row, expected in zip(noise, strength.tolist(), strict=True):
        assert row.std().item() == pytest.approx(expected, rel=0.03)


def test_batches_in_a_row_are_drawn_anew(augment: Make) -> None:
    made, x = augment(input_noise=1.0), torch.zeros(4, 3)
    assert not torch.equal(made(x), made(x))
