from __future__ import annotations

import numpy as np
import pytest

from hypertune.bounds.dual import DualFunction
from hypertune.bounds.erm import mean_dual, widest_best_plateau
from hypertune.errors import ConfigError, TaskError


@pytest.mark.parametrize("seed", range(20))
def test_mean_and_plateau_against_brute_force(seed, steps):
    rng = np.random.default_rng(seed)
    tasks = int(rng.integers(1, 12))
    duals = [steps(rng, int(rng.integers(0, 6)), levels=4) for _ in range(tasks)]
    merged = mean_dual(duals)
    edges = np.unique(np.concatenate([d.edges for d in duals]))
    np.testing.assert_array_equal(merged.edges, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    means = np.mean([d(middles) for d in duals], axis=0)
    np.testing.assert_allclose(merged.values, means, atol=1e-13)

    found = widest_best_plateau(merged)
    assert found.value == pytest.approx(means.max(), abs=1e-13)
    # Every maximal run of best pieces, from the values in whole numbers.
    best = np.round(means * tasks * 3).astype(int)
    runs, start = [], None
    for i, flag in enumerate([*(best == best.max()), False]):
        if flag and start is None:
            start = i
        elif not flag and start is not None:
            runs.append((edges[i] - edges[start], edges[start], edges[i]))
            start = None
    width = max(runs)[0]
    assert found.high - found.low == pytest.approx(width, abs=1e-15)
    assert found.point == pytest.approx((found.low + found.high) / 2, abs=1e-15)
    assert any((found.low, found.high) == (low, high) for _, low, high in runs)


def test_breakpoints_of_two_tasks_at_one_place_are_one():
    one = DualFunction(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0]))
    two = DualFunction(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.0]))
    merged = mean_dual([one, two])
    # The mean does not move, yet the tasks differ between the pieces: they are not joined.
    assert merged.values.tolist() == [0.5, 0.5]
    assert widest_best_plateau(merged).point == 0.5


def test_ties_survive_the_rounding_of_the_sweep():
    # 3,000 tasks that jump up and down by 0.1: sums in floats end a little off the start.
    rng = np.random.default_rng(0)
    edges = np.sort(rng.random((3000, 2)) * 0.4 + 0.3, axis=1)
    duals = [DualFunction(np.array([0.0, a, b, 1.0]), np.array([0.7, 0.6, 0.7])) for a, b in edges]
    found = widest_best_plateau(mean_dual(duals))
    assert found.value == pytest.approx(0.7)
    assert found.low in (0.0, pytest.approx(edges.max()))
    assert found.high - found.low == pytest.approx(max(edges.min(), 1 - edges.max()))


def test_the_lowest_of_equally_wide_plateaus():
    dual = DualFunction(np.array([0.0, 0.25, 0.5, 0.75]), np.array([1.0, 0.0, 1.0]))
    assert widest_best_plateau(dual).point == 0.125


def test_exactness_and_cost_are_handed_on():
    exact = DualFunction(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0]), True, 3)
    rough = DualFunction(np.array([0.0, 0.4, 1.0]), np.array([0.0, 1.0]), False, 40)
    assert mean_dual([exact, exact]).exact
    assert not widest_best_plateau(mean_dual([exact, rough])).exact
    assert mean_dual([exact, rough]).evaluations == 43


def test_bad_tasks_are_refused():
    with pytest.raises(TaskError, match="at least one task"):
        mean_dual([])
    one, two = (DualFunction(np.array([0.0, high]), np.array([0.5])) for high in (1.0, 2.0))
    with pytest.raises(TaskError, match=r"duals\[1\].*another range"):
        mean_dual([one, two])
    with pytest.raises(ConfigError, match="tie"):
        widest_best_plateau(one, tie=-1)
