from __future__ import annotations

import numpy as np
import pytest

from hypertune.bounds.breakpoints import enumerate_crossings, enumerate_pieces, subdivide
from hypertune.bounds.dual import DualFunction
from hypertune.errors import ConfigError


class Counted:
    """A step function that counts how often it is asked."""

    def __init__(self, dual: DualFunction) -> None:
        self.dual, self.calls = dual, 0

    def __call__(self, x: float) -> float:
        assert isinstance(x, float)
        self.calls += 1
        return float(self.dual(x))


@pytest.mark.parametrize("seed", range(10))
def test_known_breakpoints_give_the_function_back(seed, steps):
    rng = np.random.default_rng(seed)
    utility = Counted(steps(rng, 7))
    places = rng.permutation(np.concatenate((utility.dual.edges, utility.dual.edges, [-3.0, 5.0])))
    found = enumerate_pieces(utility, places, 0.0, 1.0)
    assert found.exact
    assert utility.calls == found.evaluations == 8
    points = rng.random(500)
    np.testing.assert_array_equal(found(points), utility.dual(points))
    assert (np.diff(found.values) != 0).all()


def test_no_breakpoint_is_one_piece():
    found = enumerate_pieces(lambda _: 0.5, [], -1, 3)
    assert found.edges.tolist() == [-1, 3]
    assert found.values.tolist() == [0.5]


def test_crossings_of_a_real_classifier():
    # Accuracy of sign(x + a z) on points: each margin is linear in a, so its zero is known in closed form.
    rng = np.random.default_rng(0)
    x, z, y = rng.normal(size=40), rng.normal(size=40), rng.choice([-1, 1], 40)

    def accuracy(a: float) -> float:
        return float(np.mean((x + a * z) * y > 0))

    margins = [lambda a, i=i: float(x[i] + a * z[i]) for i in range(40)]
    found = enumerate_crossings(accuracy, margins, -2.0, 2.0)
    zeros = np.sort(-x / z)
    zeros = zeros[np.abs(zeros) < 2]
    assert found.exact
    # Every zero changes one prediction, so none of them joins its neighbours.
    np.testing.assert_allclose(found.edges[1:-1], zeros, atol=1e-11)
    for a in rng.uniform(-2, 2, 300):
        assert found(a) == accuracy(float(a))


@pytest.mark.parametrize("seed", range(10))
def test_subdivision_finds_wide_pieces(seed):
    rng = np.random.default_rng(seed)
    edges = np.concatenate(([0.0], np.cumsum(rng.uniform(0.08, 0.2, 5)), [1.2]))
    utility = Counted(DualFunction(edges, rng.permutation(6) / 5))
    found = subdivide(utility, 0.0, 1.2, initial=20, tolerance=1e-4)
    assert found.evaluations == utility.calls
    np.testing.assert_allclose(found.edges, edges, atol=0.5e-4 * 1.2)
    np.testing.assert_array_equal(found.values, utility.dual.values)
    # 21 points, and one halving after the other for each of 5 jumps.
    assert utility.calls <= 21 + 5 * 12
    assert not found.exact


def test_all_breakpoints_found_is_exact_and_one_missed_is_not():
    dual = DualFunction(np.array([0.0, 0.31, 0.62, 1.0]), np.array([0.1, 0.9, 0.4]))
    assert subdivide(Counted(dual), 0, 1, most_breakpoints=2).exact
    assert not subdivide(Counted(dual), 0, 1, most_breakpoints=3).exact
    assert not subdivide(Counted(dual), 0, 1, agreement=0.01, most_breakpoints=2).exact
    # A narrow piece between two points of the first grid is missed, and that is admitted.
    narrow = DualFunction(np.array([0.0, 0.501, 0.502, 1.0]), np.array([0.1, 0.9, 0.1]))
    missed = subdivide(Counted(narrow), 0, 1, initial=4, most_breakpoints=2)
    assert len(missed.values) == 1
    assert not missed.exact


def test_continuous_utilities_become_steps_of_the_agreement():
    found = subdivide(lambda x: x * x, 0, 1, initial=4, tolerance=1e-4, agreement=0.05)
    points = np.linspace(0, 1, 1001)
    assert np.max(np.abs(found(points) - points**2)) <= 0.1
    assert 8 <= len(found.values) <= 22
    assert not found.exact


def test_a_wrong_count_of_breakpoints_is_noticed():
    dual = DualFunction(np.array([0.0, 0.3, 0.6, 1.0]), np.array([0.1, 0.9, 0.4]))
    with pytest.raises(ConfigError, match="most_breakpoints"):
        subdivide(Counted(dual), 0, 1, most_breakpoints=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: subdivide(lambda _: 0.0, 1, 0),
        lambda: subdivide(lambda _: 0.0, 0, float("inf")),
        lambda: subdivide(lambda _: 0.0, 0, 1, initial=0),
        lambda: subdivide(lambda _: 0.0, 0, 1, tolerance=0),
        lambda: subdivide(lambda _: 0.0, 0, 1, agreement=-1),
        lambda: enumerate_crossings(lambda _: 0.0, [], 0, 1, tolerance=2),
        lambda: enumerate_pieces(lambda _: 0.0, [], 1, 1),
    ],
)
def test_arguments_out_of_range_are_refused(call):
    with pytest.raises(ConfigError):
        call()
