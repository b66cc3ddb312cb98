from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertune.bounds.piecewise import known_oscillations, piecewise_constant
from hypertune.bounds.pseudo_dimension import from_decomposition, from_oscillations, log_labelings
from hypertune.errors import BoundError


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (10, 5), (126, 10), (1000, 13), (10**6, 24)])
def test_known_values(count, dimension):
    bound = from_oscillations(known_oscillations(count))
    assert bound.value == dimension
    assert bound.kind == "exact"


@given(st.integers(1, 2**60))
def test_it_is_the_largest_dimension_the_count_allows(count):
    # Below 2^40 counts are exact; above, a dimension may be one too large, never too small.
    m = int(from_oscillations(known_oscillations(count)).value)
    assert 2 ** (m + 1) > (m + 1) * count + 1
    assert 2**m <= m * count + 1 or count >= 2**40


@given(st.floats(100, 1e6))
def test_large_counts_in_logarithms(log2):
    bound = piecewise_constant(1)
    huge = type(bound).of_log2("oscillations", log2, target="utility", statement="", assumptions=(), source="")
    m = from_oscillations(huge).value
    assert m - math.log2(m) <= log2 + 1e-6
    assert (m + 1) - math.log2(m + 1) > log2


@pytest.mark.parametrize("seed", range(20))
def test_labelings_of_random_step_functions(seed):
    # m tasks with at most B cuts at their own thresholds take at most m B + 1 labelings.
    rng = np.random.default_rng(seed)
    tasks, cuts = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    line = np.linspace(0, 1, 5000)
    labels = []
    for _ in range(tasks):
        places = np.sort(rng.random(cuts))
        labels.append((np.searchsorted(places, line) + int(rng.integers(2))) % 2)
    seen = len({tuple(column) for column in np.stack(labels, axis=1)})
    most = math.exp(log_labelings(tasks, known_oscillations(cuts)))
    assert most == pytest.approx(tasks * cuts + 1)
    assert seen <= most + 1e-9


def test_labelings_can_be_reached():
    line = np.linspace(0, 1, 1000, endpoint=False)
    labels = np.stack([line >= cut for cut in (0.2, 0.4, 0.6, 0.8)], axis=1)
    assert len({tuple(row) for row in labels}) == 4 * 1 + 1


def test_labelings_of_a_dimension_are_sauers_and_never_more_than_all():
    bound = from_decomposition(3, 3, 10)
    d = bound.value
    assert log_labelings(2, bound) == pytest.approx(2 * math.log(2))
    assert log_labelings(10_000, bound) == pytest.approx(d * math.log(math.e * 10_000 / d))
    exact = math.log(sum(math.comb(10_000, i) for i in range(int(d) + 1)))
    assert exact <= log_labelings(10_000, bound)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 10**9))
def test_decompositions_solve_their_inequality_and_stay_below_the_closed_form(piece, boundary, borders):
    m = from_decomposition(piece, boundary, borders).value
    both = piece + boundary

    def allowed(n: float) -> bool:
        return n * math.log(2) <= both * (1 + math.log(n)) + boundary * math.log(borders) + 1e-6

    assert allowed(m)
    assert not allowed(m + 1.01)
    a = both / math.log(2)
    b = (both + boundary * math.log(borders)) / math.log(2)
    assert m <= 4 * a * math.log(2 * a) + 2 * b


def test_only_exact_oscillations_make_a_dimension():
    with pytest.raises(BoundError, match="no pseudo-dimension follows"):
        from_oscillations(from_oscillations(known_oscillations(5)))


@pytest.mark.parametrize("dimensions", [(-1, 3), (0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_dimensions_out_of_range_are_refused(dimensions):
    with pytest.raises(BoundError, match="are no dimensions"):
        from_decomposition(*dimensions, 3)


def test_target_and_assumptions_are_handed_on():
    bound = from_oscillations(piecewise_constant(5))
    assert bound.target == "training optimum"
    assert "the utility is the global optimum over the weights" in bound.assumptions
    assert len(set(bound.assumptions)) == len(bound.assumptions)
