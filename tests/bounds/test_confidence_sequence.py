from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.betting_test import BettingTest
from hypertune.bounds.candidates import CandidateSet
from hypertune.bounds.confidence_sequence import ConfidenceSequence, confidence_sequence_certificate
from hypertune.errors import ConfigError, TaskError

DELTA = 0.05


def reference(x: list[float], log: float) -> tuple[float, float]:
    """Lower and upper end from the formula, term by term."""
    lower, upper = 0.0, 1.0
    total, squares, mean = 0.5, 0.25, 0.5
    weights = weighted = penalty = 0.0
    for t, value in enumerate(x):
        tasks = (t + 30) * math.log(t + 31) / math.log(31)
        weight = min(math.sqrt(2 * log / (squares / (t + 1) * tasks)), 0.75)
        weights += weight
        weighted += weight * value
        penalty += (value - mean) ** 2 * (-math.log(1 - weight) - weight)
        lower = max(lower, (weighted - log - penalty) / weights)
        upper = min(upper, (weighted + log + penalty) / weights)
        total += value
        mean = total / (t + 2)
        squares += (value - mean) ** 2
    return lower, upper


@pytest.mark.parametrize(
    ("sides", "log"), [("both", math.log(2 / DELTA)), ("lower", math.log(1 / DELTA)), ("upper", math.log(1 / DELTA))]
)
def test_against_the_formula(sides, log):
    x = np.random.default_rng(0).beta(3, 2, 200)
    sequence = ConfidenceSequence.start((), DELTA, sides=sides)
    for value in x:
        sequence = sequence.update(value)
    lower, upper = reference(list(x), log)
    assert float(sequence.lower) == pytest.approx(0.0 if sides == "upper" else lower, rel=1e-10)
    assert float(sequence.upper) == pytest.approx(1.0 if sides == "lower" else upper, rel=1e-10)
    assert float(sequence.lower) < 0.6 < float(sequence.upper)


def test_entries_are_independent_of_each_other_and_of_who_else_is_observed():
    rng = np.random.default_rng(1)
    x, seen = rng.random((80, 3)), rng.random((80, 3)) < 0.6
    levels = np.array([0.05, 0.01, 0.2])
    together = ConfidenceSequence.start(3, levels)
    alone = [ConfidenceSequence.start((), level) for level in levels]
    for row, where in zip(x, seen, strict=True):
        # What was not observed is not looked at.
        together = together.update(np.where(where, row, np.nan), where)
        alone = [s.update(v) if w else s for s, v, w in zip(alone, row, where, strict=True)]
    np.testing.assert_allclose(together.lower, [float(s.lower) for s in alone], rtol=1e-12)
    np.testing.assert_allclose(together.upper, [float(s.upper) for s in alone], rtol=1e-12)
    np.testing.assert_array_equal(together.moments.count, seen.sum(axis=0))


def test_updating_leaves_the_earlier_state_alone():
    start = ConfidenceSequence.start(2, DELTA)
    once = start.update([0.2, 0.9])
    once.update([0.1, 0.1])
    assert start.update([0.2, 0.9]).lower == pytest.approx(once.lower)
    np.testing.assert_array_equal(start.lower, [0, 0])


@pytest.mark.parametrize("pool", [np.r_[np.zeros(150), np.ones(150)], np.random.default_rng(2).beta(8, 2, 300)])
@pytest.mark.parametrize("sides", ["both", "lower"])
def test_coverage_at_every_task_at_once(pool, sides, tolerated):
    # Ends only move inwards, so the last interval is wrong if any was: the adversary may stop whenever he likes.
    sample = np.random.default_rng(3).choice(pool, (1000, 600))
    sequence = ConfidenceSequence.start(600, DELTA, sides=sides)
    for row in sample:
        sequence = sequence.update(row)
    wrong = np.mean((sequence.lower > pool.mean()) | (sequence.upper < pool.mean()))
    assert wrong <= tolerated(DELTA, 600)
    assert np.mean(sequence.lower) > pool.mean() - 0.08


def _adaptive(only_later_tasks: bool) -> tuple[float, float]:
    # After every 10th task, the candidate that did best so far, out of 1,000 equally good ones, is proposed. Rates of
    # repeats in which anything was ever wrong, for the sequence and for the betting test.
    rng = np.random.default_rng(4)
    repeats, tasks, every, delta = 300, 60, 10, 0.1
    pool = rng.permuted(np.tile((np.arange(200) < 100).astype(np.float32), (1000, 1)), axis=1).T
    draws = rng.integers(0, 200, (repeats, tasks))
    rows = np.arange(repeats)
    slots = tasks // every - 1
    candidates = CandidateSet.of(["first"], delta, open=True)
    chosen = np.zeros((repeats, slots), dtype=int)
    sums = np.zeros((repeats, 1000), dtype=np.float32)
    for t in range(tasks):
        if t and t % every == 0:
            free = sums.copy()
            for earlier in range(t // every - 1):
                free[rows, chosen[:, earlier]] = -1  # not the same one again
            chosen[:, t // every - 1] = free.argmax(axis=1)
            candidates = candidates.add(t, seen=t)
        sums += pool[draws[:, t]]
    names = [every * (j + 1) for j in range(slots)]
    since = np.array([candidates.first_task(name) if only_later_tasks else 0 for name in names])
    levels = np.array([candidates.level(name) for name in names])
    sequence = ConfidenceSequence.start((repeats, slots), levels, sides="lower")
    test = BettingTest.start((repeats, slots), levels, null=0.5)
    for t in range(tasks):
        where = np.broadcast_to(t >= since, (repeats, slots))
        x = pool[draws[:, t, None], chosen]
        sequence, test = sequence.update(x, where), test.update(x, where)
    return float(np.mean((sequence.lower > 0.5).any(axis=1))), float(np.mean(test.refuted.any(axis=1)))


def test_coverage_with_adaptive_proposals(tolerated):
    assert max(_adaptive(only_later_tasks=True)) <= tolerated(0.1, 300)


def test_counting_the_tasks_that_proposed_a_candidate_fails(tolerated):
    assert min(_adaptive(only_later_tasks=False)) > tolerated(0.1, 300)


def test_certificate_is_the_lower_end():
    x = np.random.default_rng(5).beta(8, 2, 150)
    certificate = confidence_sequence_certificate(x, 0.05, candidates=4)
    assert certificate.value == pytest.approx(reference(list(x), math.log(4 / 0.05))[0], rel=1e-10)
    assert certificate.anytime


@pytest.mark.parametrize("value", [1.1, -0.1, float("nan")])
def test_utilities_outside_the_unit_interval_are_refused(value):
    with pytest.raises(TaskError, match=r"\(d \+ 1\) / 2"):
        ConfidenceSequence.start(2, DELTA).update([0.5, value])


def test_shapes_have_to_match():
    with pytest.raises(TaskError, match="another shape"):
        ConfidenceSequence.start(3, DELTA).update([0.5, 0.5])


@pytest.mark.parametrize("arguments", [{"delta": 0.0}, {"delta": [0.1, 1.0]}, {"delta": 0.1, "sides": "left"}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigError):
        ConfidenceSequence.start(2, **arguments)
