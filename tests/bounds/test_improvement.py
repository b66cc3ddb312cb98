from __future__ import annotations

import numpy as np
import pytest

from hypertune.bounds.betting import betting_lower
from hypertune.bounds.improvement import improvement_certificate, paired_utilities
from hypertune.errors import TaskError

DELTA = 0.05


def _pool(gain: float) -> tuple[np.ndarray, np.ndarray]:
    """300 tasks of very different difficulty on which a candidate gains a little nearly everywhere."""
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.2, 0.8, 300)
    return np.clip(reference + gain + rng.normal(0, 0.05, 300), 0, 1), reference


def test_pairs():
    np.testing.assert_allclose(paired_utilities([1.0, 0.0, 0.5], [0.0, 1.0, 0.5]), [1, 0, 0.5])
    # One reference for all candidates, also when there are as many candidates as tasks.
    u, v = np.random.default_rng(1).random((3, 3)), np.array([0.1, 0.2, 0.3])
    np.testing.assert_allclose(paired_utilities(u, v), (u - v[:, None] + 1) / 2)


def test_certificate_is_the_bound_of_the_pairs():
    u, v = _pool(0.1)
    certificate = improvement_certificate(u[:80], v[:80], DELTA, candidates=5, planned=80)
    expected = 2 * betting_lower((u[:80] - v[:80] + 1) / 2, DELTA / 5, planned=80) - 1
    assert certificate.value == pytest.approx(float(expected), abs=1e-12)
    assert certificate.estimate == pytest.approx(np.mean(u[:80] - v[:80]), abs=1e-12)


def test_a_gain_is_certified_where_a_level_is_not():
    rng = np.random.default_rng(5)
    v = rng.uniform(0.0, 0.9, 300)
    u = np.clip(v + 0.06 + rng.normal(0, 0.05, 300), 0, 1)
    rows = np.random.default_rng(4).integers(0, 300, (100, 200))
    pairs = betting_lower(paired_utilities(u[rows], v[rows]), DELTA, planned=100) > 0.5
    # Knowing the reference's mean exactly, and not using the pairs.
    level = betting_lower(u[rows], DELTA, planned=100) > v.mean()
    assert pairs.mean() > 0.95
    assert level.mean() < 0.6


@pytest.mark.parametrize("gain", [0.0, 0.1, -0.05])
def test_coverage_on_a_finite_pool(gain, tolerated):
    u, v = _pool(gain)
    rows = np.random.default_rng(2).integers(0, 300, (80, 1000))
    for planned in (80, None):
        lower = 2 * betting_lower(paired_utilities(u[rows], v[rows]), DELTA, planned=planned) - 1
        assert np.mean(lower > np.mean(u - v)) <= tolerated(DELTA, 1000)


def test_no_gain_is_hardly_ever_certified_but_a_real_one_is():
    def certified(gain: float) -> float:
        u, v = _pool(gain)
        rows = np.random.default_rng(3).integers(0, 300, (100, 300))
        return float(np.mean(betting_lower(paired_utilities(u[rows], v[rows]), DELTA, planned=100) > 0.5))

    assert certified(-0.003) <= 0.05
    assert certified(0.1) == 1.0


def test_a_gain_needs_a_number_of_tasks_however_steady_it_is():
    # One task more could lose everything, so ln(1 / delta) / gain tasks are needed even without any variance.
    def certified(tasks: int) -> bool:
        return improvement_certificate(np.full(tasks, 0.55), np.full(tasks, 0.5), DELTA, planned=tasks).value > 0

    needed = np.log(1 / DELTA) / 0.05
    assert not certified(int(needed))
    assert certified(int(1.15 * needed))


def test_the_worst_and_the_best():
    worst = improvement_certificate(np.zeros(50), np.ones(50), DELTA)
    assert worst.vacuous
    assert worst.value == -1
    assert improvement_certificate(np.ones(300), np.zeros(300), DELTA).value > 0.9


def test_other_tasks_are_no_pairs():
    with pytest.raises(TaskError, match="same tasks"):
        improvement_certificate([0.5, 0.6, 0.7], [0.5, 0.6], DELTA)
    with pytest.raises(TaskError, match="same tasks"):
        paired_utilities(np.full((3, 2), 0.5), np.full(2, 0.5))
