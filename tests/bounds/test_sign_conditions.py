from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertune.bounds.sign_conditions import log2_components
from hypertune.errors import ConfigError


def exact(s: int, k: int, d: int) -> int:
    return sum(math.comb(s, j) * 4**j for j in range(min(s, k) + 1)) * d * (2 * d - 1) ** (k - 1)


@pytest.mark.parametrize(("s", "k", "d"), [(0, 1, 1), (1, 1, 1), (3, 2, 4), (5, 9, 2), (40, 7, 3), (700, 60, 5)])
def test_components_against_whole_numbers(s, k, d):
    assert log2_components(s, k, d) == pytest.approx(math.log2(exact(s, k, d)), rel=1e-12)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 20))
def test_at_most_half_of_warrens_bound(extra, k, d):
    s = k + extra - 1
    assert log2_components(s, k, d) <= k * math.log2(8 * math.e * d * s / k) - 1 + 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_real_patterns_never_exceed_the_bound(seed):
    # Every sign vector, zeros apart, that random lines and conics show on a dense grid of the plane.
    rng = np.random.default_rng(seed)
    axis = np.linspace(-3, 3, 400)
    x, y = np.meshgrid(axis, axis)
    polynomials = []
    for _ in range(6):
        c = rng.normal(size=6)
        polynomials.append(c[0] + c[1] * x + c[2] * y + c[3] * x * x + c[4] * x * y + c[5] * y * y)
    patterns = {tuple(row) for row in (np.stack([p > 0 for p in polynomials], -1).reshape(-1, 6))}
    assert len(patterns) > 6
    assert math.log2(len(patterns)) <= log2_components(6, 2, 2)


def test_lines_in_general_position_reach_the_known_count():
    # n lines cut the plane into 1 + n + C(n, 2) cells: a closed form below the bound, of the same order.
    for n in range(1, 9):
        cells = 1 + n + len(list(itertools.combinations(range(n), 2)))
        assert math.log2(cells) <= log2_components(n, 2, 1) <= math.log2(16 * cells)


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (1, 0, 1), (1, 1, 0), (1.5, 1, 1), (True, 1, 1)])
def test_counts_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigError, match="whole number"):
        log2_components(*arguments)
