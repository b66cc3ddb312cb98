from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.hoeffding import hoeffding_certificate, hoeffding_margin
from hypertune.errors import ConfigError

DELTA, REPEATS, CANDIDATES = 0.1, 400, 200


def test_closed_form():
    assert hoeffding_margin(50, 0.05, candidates=8) == pytest.approx(math.sqrt(math.log(160) / 100), rel=1e-15)
    certificate = hoeffding_certificate([0.5, 1.0] * 25, 0.05, candidates=8)
    assert certificate.value == pytest.approx(0.75 - math.sqrt(math.log(160) / 100), rel=1e-12)
    assert certificate.candidates == 8
    assert not certificate.anytime
    assert "the 8 candidates were fixed" in str(certificate.assumptions)


def _violations(candidates: int, tasks: int = 40) -> float:
    # 200 equal coins, the luckiest of them chosen: the worst case for a union bound.
    rng = np.random.default_rng(0)
    pool = (rng.permuted(np.tile(np.arange(300) < 150, (CANDIDATES, 1)), axis=1)).T.astype(float)
    mean = 0.5
    wrong = 0
    for _ in range(REPEATS):
        sample = pool[rng.integers(0, 300, tasks)]
        best = sample[:, sample.mean(axis=0).argmax()]
        wrong += hoeffding_certificate(best, DELTA, candidates=candidates).value > mean
    return wrong / REPEATS


def test_coverage_of_the_best_of_many(tolerated):
    assert _violations(CANDIDATES) <= tolerated(DELTA, REPEATS)


def test_without_the_union_the_same_simulation_fails(tolerated):
    assert _violations(1) > tolerated(DELTA, REPEATS)


def test_a_bound_below_zero_is_vacuous():
    certificate = hoeffding_certificate([0.1, 0.2], 0.05)
    assert certificate.vacuous
    assert certificate.value == 0
    assert certificate.margin == pytest.approx(math.sqrt(math.log(20) / 4))


@pytest.mark.parametrize("candidates", [0, -1, 1.5])
def test_candidates_out_of_range_are_refused(candidates):
    with pytest.raises(ConfigError, match="candidates"):
        hoeffding_certificate([0.5, 0.6], 0.05, candidates=candidates)
