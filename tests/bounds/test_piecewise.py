from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.piecewise import known_oscillations, piecewise_constant, piecewise_polynomial, swings
from hypertune.errors import ConfigError


def crossings(above: np.ndarray) -> int:
    """Changes along the line, with points and open intervals in their order."""
    return int(np.count_nonzero(above[1:] != above[:-1]))


@pytest.mark.parametrize("seed", range(30))
def test_projections_of_boxes_cut_the_line_at_most_twice_each(seed):
    # f is constant on N boxes in (a, w) and 0 elsewhere; the optimum over w is the largest box above a.
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    ends = np.sort(rng.integers(0, 40, (n, 2)), axis=1) / 40
    values = rng.random(n)
    # Edges, and a point inside each interval between them: nothing else can differ.
    edges = np.unique(ends)
    line = np.sort(np.concatenate((edges, (edges[1:] + edges[:-1]) / 2, [-1.0, 2.0])))
    inside = (ends[:, :1] <= line) & (line <= ends[:, 1:])
    optimum = np.where(inside, values[:, None], 0.0).max(axis=0)
    most = max(crossings(optimum > z) for z in [0.0, *(values - 1e-9)])
    assert most <= piecewise_constant(n).value == 2 * n


def test_disjoint_boxes_reach_the_bound():
    line = np.arange(0, 21)
    optimum = np.where(line % 2 == 1, 1.0, 0.0)  # ten boxes of one point each
    assert crossings(optimum > 0.5) == piecewise_constant(10).value


@pytest.mark.parametrize("seed", range(20))
def test_jumps_and_maxima_bound_the_crossings(seed):
    rng = np.random.default_rng(seed)
    values = []
    jumps = maxima = 0
    for segment in range(int(rng.integers(1, 5))):
        if segment:
            jumps += 1
            values.append(rng.random())  # the value at the jump itself
        bends = rng.random(int(rng.integers(2, 7)))
        piece = np.interp(np.linspace(0, len(bends) - 1, 300), np.arange(len(bends)), bends)
        maxima += int(np.count_nonzero((bends[1:-1] > bends[:-2]) & (bends[1:-1] > bends[2:])))
        values.extend(piece)
    utility = np.array(values)
    most = max(crossings(utility > z) for z in np.unique(utility)[::7])
    assert most <= swings(jumps, maxima).value


def test_constants_of_the_swings():
    assert swings(0, 0).value == 4
    assert swings(3, 5).value == 2 * (5 + 9 + 2)


def test_polynomial_pieces_against_whole_numbers():
    n, m, d, degree = 7, 4, 3, 2
    components = sum(math.comb(m + 1, j) * 4**j for j in range(d + 2)) * degree * (2 * degree - 1) ** d
    assert piecewise_polynomial(n, m, d, degree).log2 == pytest.approx(math.log2(2 * n * components), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_optima_of_polynomials_stay_below_the_bound(seed):
    # One piece, one weight: f(a, w) of degree 2 on a grid of w in [-1, 1], whose two borders are polynomials too.
    rng = np.random.default_rng(seed)
    c = rng.normal(size=6)
    a, w = np.linspace(-4, 4, 1500)[:, None], np.linspace(-1, 1, 400)
    optimum = (c[0] + c[1] * a + c[2] * w + c[3] * a * a + c[4] * a * w + c[5] * w * w).max(axis=1)
    most = max(crossings(optimum > z) for z in np.quantile(optimum, np.linspace(0.01, 0.99, 50)))
    assert 1 <= most <= piecewise_polynomial(1, 2, 1, 2).value


def test_records_say_what_they_are_about():
    assert known_oscillations(3, target="training optimum").target == "training optimum"
    assert piecewise_constant(1).target == piecewise_polynomial(1, 0, 1, 1).target == "training optimum"
    assert "global optimum over the weights" in str(piecewise_constant(1).assumptions)


@pytest.mark.parametrize(
    "call",
    [
        lambda: known_oscillations(0),
        lambda: swings(-1, 0),
        lambda: piecewise_constant(2.5),
        lambda: piecewise_polynomial(1, 1, 0, 1),
    ],
)
def test_counts_out_of_range_are_refused(call):
    with pytest.raises(ConfigError, match="whole number"):
        call()
