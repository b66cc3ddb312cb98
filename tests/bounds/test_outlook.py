from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.betting import hold_out_certificate
from hypertune.bounds.outlook import outlook
from hypertune.errors import ConfigError


def by_kind(rows):
    return {row.kind: row for row in rows}


def test_margins_are_those_of_the_inequalities():
    rows = by_kind(outlook(0.1, 0.05, candidates=16, spread=0.2))
    for n, margin in zip((50, 100, 300, 1000), rows["hoeffding"].margins, strict=True):
        assert margin == pytest.approx(math.sqrt(math.log(16 / 0.05) / (2 * n)))
    union = math.log(2 * 16 / 0.05)
    assert rows["empirical bernstein"].margins[1] == pytest.approx(
        math.sqrt(2 * 0.04 * union / 100) + 7 * union / (3 * 99)
    )
    theory = rows["worst case (theory), 10 oscillations"].margins[2]
    assert theory == pytest.approx(math.sqrt(2 * math.log(3001) / 300) + math.sqrt(math.log(20) / 600))


def test_betting_is_what_a_certificate_will_say():
    # Utilities of another shape with the same mean and spread.
    rng = np.random.default_rng(5)
    margins = [hold_out_certificate(0.7 + 0.15 * np.sqrt(3) * rng.uniform(-1, 1, 100), 0.05).margin for _ in range(40)]
    predicted = by_kind(outlook(0.1, 0.05, candidates=16, spread=0.15))["hold-out"].margins[1]
    assert predicted == pytest.approx(np.median(margins), rel=0.2)


def test_what_is_needed_is_enough_and_no_more():
    for row in outlook(0.05, 0.05, candidates=8, spread=0.15):
        if row.needed > 1000:
            continue
        around = (max(row.needed - 5, 2), row.needed)
        again = by_kind(outlook(0.05, 0.05, candidates=8, spread=0.15, tasks=around))[row.kind]
        assert again.margins[1] <= 0.05 < again.margins[0]


def test_the_theory_of_a_network_is_vacuous_and_the_certificates_are_not():
    rows = outlook(0.05, 0.05, candidates=16, spread=0.15)
    assert [row.vacuous for row in rows] == [False, False, False, False, False, True]
    assert "2^50,468" in rows[-1].note


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"spread": 0}, "spread"),
        ({"spread": 0.6}, "spread"),
        ({"candidates": 0}, "candidates"),
        ({"tasks": (1,)}, "tasks"),
        ({"oscillations": 0}, "oscillations"),
    ],
)
def test_out_of_range(change, where):
    with pytest.raises(ConfigError, match=where):
        outlook(0.05, 0.05, **{"candidates": 8, "spread": 0.15, **change})


def test_levels_out_of_range():
    with pytest.raises(ConfigError, match="epsilon"):
        outlook(1.0, 0.05, candidates=8, spread=0.15)
    with pytest.raises(ConfigError, match="delta"):
        outlook(0.1, 0.0, candidates=8, spread=0.15)
