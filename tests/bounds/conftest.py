"""Shared by the tests of bounds: how many violations chance allows, and step functions drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from hypertune.bounds.dual import DualFunction


@pytest.fixture
def tolerated() -> Callable[[float, int], float]:
    """Rate of violations that a level allows, plus three binomial standard deviations."""
    return lambda delta, repeats: delta + 3 * math.sqrt(delta * (1 - delta) / repeats)


@pytest.fixture
def steps() -> Callable[..., DualFunction]:
    """A random step function on [0, 1] with values on a grid, so that ties happen."""

    def make(rng: np.random.Generator, breakpoints: int, *, levels: int = 11) -> DualFunction:
        edges = np.concatenate(([0.0], np.sort(rng.random(breakpoints)), [1.0]))
        return DualFunction(edges, rng.integers(0, levels, breakpoints + 1) / (levels - 1))

    return make
