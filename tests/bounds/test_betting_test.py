from __future__ import annotations

import itertools

import numpy as np
import pytest

from hypertune.bounds.betting import betting_lower
from hypertune.bounds.betting_test import BettingTest
from hypertune.bounds.candidates import CandidateSet
from hypertune.bounds.confidence_sequence import ConfidenceSequence
from hypertune.errors import ConfigError, TaskError


@pytest.mark.parametrize("null", [0.3, 0.5, 0.7])
def test_it_refutes_exactly_what_the_lower_bound_excludes(null):
    x = np.random.default_rng(0).beta(3, 2, (120, 200))
    test = BettingTest.start(200, 0.05, null=null)
    for t, row in enumerate(x, start=1):
        test = test.update(row)
        if t in (10, 40, 120):
            bound = betting_lower(x[:t], 0.05)
            # The bound is known to 1e-10 only.
            clear = np.abs(bound - null) > 1e-9
            np.testing.assert_array_equal(test.refuted[clear], bound[clear] >= null)
            assert clear.all()


def test_observations_can_be_left_out():
    x = np.random.default_rng(1).random((50, 2))
    both, one = BettingTest.start(2, 0.05), BettingTest.start((), 0.05)
    for t, row in enumerate(x):
        both = both.update([row[0], np.nan] if t % 2 else row, np.array([True, t % 2 == 0]))
        one = one.update(row[1]) if t % 2 == 0 else one
    assert float(both.log_wealth[1]) == pytest.approx(float(one.log_wealth), rel=1e-12)


def test_a_refutation_stays():
    test = BettingTest.start((), 0.05)
    for _ in range(60):
        test = test.update(0.8)
    assert test.refuted
    for _ in range(200):
        test = test.update(0.0)
    assert test.refuted
    assert test.log_wealth < 0


def test_coverage_at_every_task_at_once(tolerated):
    sample = np.random.default_rng(2).integers(0, 2, (1500, 600)).astype(float)
    test = BettingTest.start(600, 0.05)
    for row in sample:
        test = test.update(row)
    assert np.mean(test.refuted) <= tolerated(0.05, 600)
    assert np.mean(test.refuted) > 0.01  # a test that never errs would be wasteful


def test_a_race_of_fixed_candidates_keeps_the_best(tolerated):
    # Paired differences on a stream of tasks; a mistake is any worse candidate that is found to be better.
    rng = np.random.default_rng(3)
    repeats, tasks, delta = 300, 200, 0.1
    means = np.array([0.6, 0.6, 0.6, 0.5, 0.3])  # ties: the first three must never be told apart
    candidates = CandidateSet.of(range(5), delta)
    pairs = list(itertools.permutations(range(5), 2))
    better, worse = np.array(pairs).T
    level = candidates.pair_level(0, 1)
    test = BettingTest.start((repeats, len(pairs)), level)
    for _ in range(tasks):
        shared = rng.random((repeats, 1))  # an easy task is easy for all
        u = ((shared + rng.random((repeats, 5))) / 2 < means).astype(float)
        test = test.update((u[:, better] - u[:, worse] + 1) / 2)
    wrong = test.refuted[:, means[better] <= means[worse]].any(axis=1)
    assert wrong.mean() <= tolerated(delta, repeats)
    found = test.refuted[:, (better == 0) & (worse == 4)]
    assert found.mean() > 0.9


def test_it_needs_far_fewer_tasks_than_the_confidence_sequence():
    differences = np.random.default_rng(4).normal(0.03, 0.05, (600, 50))
    x = np.clip((differences + 1) / 2, 0, 1)
    test, sequence = BettingTest.start(50, 0.001), ConfidenceSequence.start(50, 0.001, sides="lower")
    when = np.full((2, 50), 600)
    for t, row in enumerate(x):
        test, sequence = test.update(row), sequence.update(row)
        when[0] = np.minimum(when[0], np.where(test.refuted, t, 600))
        when[1] = np.minimum(when[1], np.where(sequence.lower > 0.5, t, 600))
    assert np.median(when[0]) < 0.5 * np.median(when[1])


def test_bad_arguments_are_refused():
    for null in (0.0, 1.0):
        with pytest.raises(ConfigError, match="null"):
            BettingTest.start(2, 0.05, null=null)
    with pytest.raises(ConfigError, match="delta"):
        BettingTest.start(2, [0.05, 0.0])
    with pytest.raises(TaskError, match="outside"):
        BettingTest.start(2, 0.05).update([0.5, -0.5])
