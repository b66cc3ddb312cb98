"""Effects on complex inputs: noise is circular, and what is not defined for them says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import stats

from hypertune import registry
from hypertune.effects.pipeline import Effects
from hypertune.errors import TrialError

Make = Callable[..., Any]


def test_complex_noise_is_circular_with_the_given_root_mean_square(augment: Make) -> None:
    x = torch.full((200, 50), 3.0 - 1.0j)
    noise = (augment(input_noise=0.7)(x) - x).flatten()
    assert noise.dtype == torch.complex64
    for part in (noise.real, noise.imag):
        assert stats.kstest(part.double().numpy(), "norm", args=(0, 0.7 / 2**0.5)).pvalue > 0.01
    assert abs(stats.pearsonr(noise.real.numpy(), noise.imag.numpy()).statistic) < 0.03


def test_each_example_has_its_own_strength(augment: Make) -> None:
    strength = torch.tensor([0.0, 0.1, 10.0])
    noise = augment(input_noise=strength)(torch.zeros(3, 2, 3000, dtype=torch.complex64))
    assert noise[0].abs().max() == 0
    for row, expected in zip(noise[1:], [0.1, 10.0], strict=True):
        assert row.abs().square().mean().sqrt().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", ["mixup", "time_mask", "shift"])
def test_others_are_refused_by_name(augment: Make, name: str) -> None:
    shape = (4, 1, 8, 8) if name == "shift" else (4, 1, 8)
    with pytest.raises(TrialError, match="not defined for complex inputs") as caught:
        augment(**{name: 0.1})(torch.zeros(shape, dtype=torch.complex64))
    assert name in str(caught.value)


TAKES_COMPLEX = [name for name in registry.names("effect") if registry.load("effect", name).takes_complex]


@pytest.mark.parametrize("name", TAKES_COMPLEX)
def test_an_effect_that_takes_complex_inputs_keeps_their_type(name: str) -> None:
    effect = registry.load("effect", name)
    values = dict.fromkeys(effect.hyperparameters, 0.3)
    x = torch.ones(4, 2, 8, dtype=torch.complex64)
    made = Effects(values, seed=0).apply(x, torch.zeros(4), values).x
    assert made.dtype == torch.complex64
    assert not torch.equal(made, x)
