from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.betting import betting_certificate, betting_lower, hold_out_certificate
from hypertune.bounds.empirical_bernstein import empirical_bernstein_margin
from hypertune.bounds.hoeffding import hoeffding_margin
from hypertune.errors import ConfigError

DELTA = 0.05


def refuted(x: np.ndarray, mean: float, delta: float, planned: int | None, cap: float) -> bool:
    """Whether the wealth of the definition ever refutes a mean, in plain Python."""
    log = math.log(1 / delta)
    wealth, total, squares = 0.0, 0.5, 0.25
    for t, value in enumerate(x):
        variance = squares / (t + 1)
        tasks = planned or (t + 30) * math.log(t + 31) / math.log(31)
        bet = min(math.sqrt(2 * log / (variance * tasks)), cap / mean)
        wealth += math.log(1 + bet * (value - mean))
        if wealth >= log:
            return True
        total += value
        squares += (value - total / (t + 2)) ** 2
    return False


@pytest.mark.parametrize("planned", [None, 25])
@pytest.mark.parametrize("cap", [0.5, 0.95])
@pytest.mark.parametrize("shape", [(8, 2), (1, 1), (0.3, 0.3)])
def test_against_the_definition(planned, cap, shape):
    x = np.random.default_rng(3).beta(*shape, 25)
    bound = float(betting_lower(x, DELTA, planned=planned, cap=cap))
    assert bound > 0.05
    for mean in [*np.linspace(0.001, bound - 1e-9, 30)]:
        assert refuted(x, mean, DELTA, planned, cap)
    for mean in [*np.linspace(bound + 1e-9, 0.999, 30)]:
        assert not refuted(x, mean, DELTA, planned, cap)


def test_columns_are_independent_of_each_other():
    x = np.random.default_rng(4).random((40, 3, 2))
    together = betting_lower(x, DELTA)
    assert together.shape == (3, 2)
    for index in np.ndindex(3, 2):
        assert together[index] == betting_lower(x[(slice(None), *index)], DELTA)


POOLS = {
    "coin": np.r_[np.zeros(150), np.ones(150)],
    "mostly right": np.r_[np.zeros(30), np.ones(270)],
    "rarely right": np.r_[np.ones(3), np.zeros(297)],
    "skewed": np.random.default_rng(5).beta(2, 5, 300),
    "accuracies": np.clip(np.random.default_rng(6).normal(0.9, 0.05, 300), 0, 1),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("planned", [None, 60])
def test_coverage_on_a_finite_pool(name, planned, tolerated):
    pool = POOLS[name]
    sample = np.random.default_rng(7).choice(pool, (60, 1000))
    wrong = np.mean(betting_lower(sample, DELTA, planned=planned) > pool.mean())
    assert wrong <= tolerated(DELTA, 1000)


def test_coverage_after_optional_stopping(tolerated):
    # The adversary stops at the first task after which the bound is wrong. That is the same as asking whether the
    # bound over all tasks is wrong, which is what a running maximum of the wealth makes it.
    sample = np.random.default_rng(8).choice(POOLS["coin"], (300, 400))
    stops = np.array([10, 30, 60, 100, 200, 300])
    bounds = np.stack([betting_lower(sample[:t], DELTA) for t in stops])
    assert (np.diff(bounds, axis=0) >= -1e-9).all()
    assert np.mean((bounds > 0.5).any(axis=0)) <= tolerated(DELTA, 400)
    # Hoeffding's bound for a fixed number of tasks does not survive the same adversary.
    means = np.cumsum(np.random.default_rng(9).choice(POOLS["coin"], (3000, 500)), axis=0)
    means /= np.arange(1, 3001)[:, None]
    margins = np.array([hoeffding_margin(t, DELTA) for t in range(1, 3001)])[:, None]
    assert np.mean((means - margins > 0.5).any(axis=0)) > tolerated(DELTA, 500)


def _best_of(same: bool, candidates: int) -> float:
    # 60 candidates of equal mean; each of 400 repeats chooses the luckiest on 50 tasks.
    rng = np.random.default_rng(10)
    pool = np.clip(rng.beta(2, 2, (300, 60)), 0.02, 0.98)
    pool += 0.5 - pool.mean(axis=0)
    first = rng.integers(0, 300, (50, 400))
    best = pool[first].mean(axis=0).argmax(axis=1)
    values = pool[first if same else rng.integers(0, 300, (50, 400)), best]
    bounds = betting_lower(values, DELTA / candidates, planned=50)
    for column in range(3):
        if candidates == 1:
            certificate = hold_out_certificate(values[:, column], DELTA)
        else:
            certificate = betting_certificate(values[:, column], DELTA, candidates=candidates, planned=50)
        assert certificate.value == bounds[column]
    return float(np.mean(bounds > 0.5))


def test_held_out_tasks_cover_a_candidate_chosen_in_any_way(tolerated):
    assert _best_of(same=False, candidates=1) <= tolerated(DELTA, 400)


def test_a_union_covers_the_best_of_fixed_candidates(tolerated):
    assert _best_of(same=True, candidates=60) <= tolerated(DELTA, 400)


def test_choosing_and_certifying_on_the_same_tasks_fails(tolerated):
    assert _best_of(same=True, candidates=1) > tolerated(DELTA, 400)


def test_tighter_than_the_other_inequalities():
    x = np.random.default_rng(11).beta(8, 2, (45, 200))
    betting = np.mean(x.mean(axis=0) - betting_lower(x, DELTA, planned=45))
    assert betting < 0.5 * hoeffding_margin(45, DELTA)
    assert betting < 0.5 * np.mean(empirical_bernstein_margin(x.var(axis=0, ddof=1), 45, DELTA))


def test_a_plan_pays_where_it_was_made_and_survives_stopping():
    x = np.random.default_rng(12).integers(0, 2, (300, 100)).astype(float)
    assert betting_lower(x, DELTA, planned=300).mean() > betting_lower(x, DELTA).mean()
    assert betting_certificate(x[:, 0], DELTA, planned=500).anytime
    assert not hold_out_certificate(x[:, 0], DELTA).anytime


def test_degenerate_utilities():
    assert betting_lower(np.zeros(50), DELTA) == 0
    assert 0.9 < betting_lower(np.ones(200), DELTA) < 1
    # All failures but one success: bounds stay in the unit interval.
    assert 0 <= betting_lower(np.r_[np.zeros(49), 1.0], DELTA) < 0.2


def test_no_task_is_lost_to_a_small_level():
    assert betting_lower(np.full(4, 0.9), 1e-300) < 1e-9


@pytest.mark.parametrize("arguments", [{"cap": 1.0}, {"cap": 0.0}, {"planned": 0}, {"planned": 2.5}])
def test_arguments_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigError):
        betting_lower([0.5, 0.6], DELTA, **arguments)
