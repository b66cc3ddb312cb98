"""Inputs for effects, and effects with values as the training loop calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hypertune.effects.pipeline import Effects


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Applied:
    """One trial's effects at fixed values."""

    def __init__(self, seed: int, values: dict[str, Any]) -> None:
        self.effects, self.values = Effects(values, seed=seed), values

    def __call__(self, x: Tensor) -> Tensor:
        return self.effects.apply(x, torch.zeros(len(x)), self.values).x


@pytest.fixture
def augment() -> Callable[..., Applied]:
    def make(seed: int = 0, **values: Any) -> Applied:
        return Applied(seed, values)

    return make


@pytest.fixture
def images() -> Callable[..., Tensor]:
    def make(n: int, height: int, width: int, seed: int = 0) -> Tensor:
        return torch.randn(n, 2, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return make
