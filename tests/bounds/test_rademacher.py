from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from hypertune.bounds.dual import DualFunction
from hypertune.bounds.erm import mean_dual, widest_best_plateau
from hypertune.bounds.rademacher import rademacher_average, rademacher_certificate
from hypertune.errors import BoundError, TaskError


@pytest.mark.parametrize("seed", range(8))
def test_above_the_average_over_all_signs(seed, steps):
    rng = np.random.default_rng(seed)
    duals = [steps(rng, 3) for _ in range(10)]
    edges = mean_dual(duals).edges
    vectors = np.stack([d((edges[1:] + edges[:-1]) / 2) for d in duals], axis=1)
    signs = np.array(list(itertools.product([-1, 1], repeat=10)))
    average = np.mean(np.max(signs @ vectors.T, axis=1)) / 10
    bound = rademacher_average(duals)
    assert average <= bound < 3 * average


def test_closed_form():
    duals = [DualFunction(np.array([0.0, c, 1.0]), np.array([0.2, 0.8])) for c in (0.3, 0.5, 0.9)]
    expected = math.sqrt(2 * math.log(4) * 3 * 0.3**2) / 3
    assert rademacher_average(duals) == pytest.approx(expected, rel=1e-12)
    certificate = rademacher_certificate(duals, 0.95, 0.05)
    assert certificate.estimate == pytest.approx(0.8)
    assert certificate.margin == pytest.approx(2 * expected + 3 * math.sqrt(math.log(40) / 6), rel=1e-12)
    assert certificate.vacuous


def test_constant_utilities_have_no_complexity():
    duals = [DualFunction(np.array([0.0, 1.0]), np.array([0.9]))] * 200
    assert rademacher_average(duals) == 0
    assert rademacher_certificate(duals, 0.5, 0.05).value == pytest.approx(0.9 - 3 * math.sqrt(math.log(40) / 400))


def test_coverage_on_a_finite_pool(steps, tolerated):
    rng = np.random.default_rng(1)
    pool = [steps(rng, 2) for _ in range(200)]
    expectation = mean_dual(pool)
    wrong, excess, margins = 0, [], []
    for _ in range(300):
        sample = [pool[i] for i in rng.integers(0, 200, 60)]
        best = widest_best_plateau(mean_dual(sample)).point
        certificate = rademacher_certificate(sample, best, 0.1)
        true = float(expectation(best))
        wrong += certificate.value > true
        excess.append(certificate.estimate - true)
        margins.append(certificate.margin)
    assert wrong / 300 <= tolerated(0.1, 300)
    # The mean at the winner is optimistic in nearly every repeat, so a margin of nothing would be wrong.
    assert np.mean(np.array(excess) > 0) > 0.8
    assert max(excess) < min(margins)


def test_a_missed_breakpoint_is_refused(steps):
    rng = np.random.default_rng(2)
    duals = [steps(rng, 2), dataclasses.replace(steps(rng, 2), exact=False)]
    with pytest.raises(BoundError, match=r"duals\[1\].*no breakpoint was missed"):
        rademacher_certificate(duals, 0.5, 0.05)


def test_folds_too_few_tasks_and_wrong_utilities_are_refused(steps):
    rng = np.random.default_rng(3)
    one = steps(rng, 2)
    with pytest.raises(BoundError, match="folds"):
        rademacher_certificate([one, one], 0.5, 0.05, tasks="folds")
    with pytest.raises(TaskError, match="at least 2"):
        rademacher_certificate([one], 0.5, 0.05)
    # Fine at the chosen point, outside elsewhere: the bound is about all values together.
    outside = DualFunction(np.array([0.0, 0.5, 1.0]), np.array([0.5, 1.5]))
    with pytest.raises(TaskError, match="lie outside"):
        rademacher_certificate([one, outside], 0.2, 0.05)
