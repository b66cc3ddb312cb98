from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from comparison.results import Cell
from comparison.statistics import at_epochs, at_seconds, best_peer, gap, mean, mean_ranks, names
from comparison.trajectory import Point
from scipy import stats


def cell(method, task="t", seed=0, budget=100):
    return Cell(seed, task, method, budget)


def ends_at(test, epochs=100):
    return [Point(epochs, 1.0, 0.0, test)]


def test_mean_and_standard_error():
    values = np.random.default_rng(0).normal(size=7)
    found = mean(values)
    assert found.value == pytest.approx(math.fsum(values) / 7, rel=1e-12)
    assert found.error == pytest.approx(stats.sem(values), rel=1e-12)
    assert found.n == 7
    assert math.isnan(mean([1.0]).error)
    assert str(mean([1.0])) == "1.0000"
    assert str(mean([1.0, 3.0])) == "2.0000 ± 1.0000"
    with pytest.raises(ValueError, match="at least one"):
        mean([])


def test_incumbent_by_epochs_and_seconds():
    points = [Point(10, 1.0, 0.5, 0.7), Point(30, 5.0, 0.4, 0.9), Point(100, 9.0, 0.4, 0.9)]
    np.testing.assert_equal(
        at_epochs(points, [0, 9.9, 10, 29, 30, 100, 1000]), [np.nan, np.nan, 0.7, 0.7, 0.9, 0.9, 0.9]
    )
    np.testing.assert_equal(at_seconds(points, [0.5, 1, 4.9, 5, 50]), [np.nan, 0.7, 0.7, 0.9, 0.9])
    # 0.3 * 100 computed as 3 * 0.1 * 100 is above 30, as 100 * 0.1 * 3 below; both mean the point at 30.
    assert at_epochs(points, [np.nextafter(30.0, 0)])[0] == 0.9


def test_ranks_against_pandas():
    generator = np.random.default_rng(1)
    methods, blocks = ["a", "b", "c", "d"], [("t", 0), ("t", 1), ("u", 0)]
    losses = pd.DataFrame(generator.integers(0, 3, size=(3, 4)).astype(float), columns=methods)
    table = {
        cell(method, task, seed): ends_at(losses.loc[row, method])
        for row, (task, seed) in enumerate(blocks)
        for method in methods
    }
    expected = losses.rank(axis=1)
    found = mean_ranks(table, [1.0])
    for method in methods:
        assert found[method][0].value == pytest.approx(expected[method].mean())
        assert found[method][0].error == pytest.approx(expected[method].sem())


def test_ranks_over_the_budget():
    table = {
        cell("fast"): [Point(10, 0.1, 0.5, 0.5), Point(100, 1.0, 0.5, 0.5)],
        cell("slow"): [Point(50, 0.1, 0.2, 0.2), Point(100, 1.0, 0.2, 0.2)],
        cell("none"): [Point(100, 1.0, math.nan, math.nan)],
    }
    found = mean_ranks(table, [0.05, 0.2, 0.5])
    assert [rank.value for rank in found["fast"]] == [2.0, 1.0, 2.0]
    assert [rank.value for rank in found["slow"]] == [2.0, 2.5, 1.0]
    assert [rank.value for rank in found["none"]] == [2.0, 2.5, 3.0]


def test_only_complete_blocks_are_ranked():
    table = {cell("a"): ends_at(0.1), cell("b"): ends_at(0.2), cell("a", seed=1): ends_at(0.9)}
    found = mean_ranks(table, [1.0])
    assert (found["a"][0].value, found["a"][0].n) == (1.0, 1)
    assert mean_ranks({cell("a"): ends_at(0.1), cell("b", seed=1): ends_at(0.1)}, [1.0]) == {}


def test_gap_is_paired_by_seed():
    ours, theirs = [0.1, 0.3, 0.2], [0.2, 0.5, 0.2]
    table = {cell("ours", seed=seed): ends_at(value) for seed, value in enumerate(ours)}
    table |= {cell("peer", seed=seed): ends_at(value) for seed, value in enumerate(theirs)}
    table |= {cell("peer", seed=9): ends_at(77.0), cell("worse"): ends_at(300.0)}
    found = gap(table, "t", "ours", "peer")
    assert found.ratio == pytest.approx(0.6 / 0.9)
    t_statistic = stats.ttest_rel(ours, theirs).statistic
    assert found.difference.value / found.difference.error == pytest.approx(t_statistic)
    assert best_peer({k: v for k, v in table.items() if k.seed != 9}, "t", ["peer", "worse"]) == "peer"
    assert gap(table, "t", "ours", "absent") is None
    assert best_peer(table, "u", ["peer"]) is None


def test_names_keep_the_order_of_the_table():
    table = {cell("z", "b"): [], cell("a", "b"): [], cell("z", "a"): []}
    assert names(table, "method") == ["z", "a"]
    assert names(table, "task") == ["b", "a"]
