from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats.qmc import discrepancy

from hypertune.bounds.refinement import design_points, refine_points, trust_box
from hypertune.errors import ConfigError


def test_a_design_is_even_and_can_be_continued():
    points = design_points(50, 3, seed=1)
    assert points.shape == (50, 3)
    assert ((points >= 0) & (points < 1)).all()
    np.testing.assert_array_equal(np.concatenate((points[:20], design_points(30, 3, seed=1, start=20))), points)
    random = np.mean([discrepancy(np.random.default_rng(s).random((50, 3))) for s in range(20)])
    assert discrepancy(points) < random / 2
    assert not np.array_equal(points, design_points(50, 3, seed=2))


def test_the_same_history_gives_the_same_points_in_a_fresh_process():
    code = (
        "import numpy as np; from hypertune.bounds.refinement import refine_points as r;"
        "x = np.linspace(0, 1, 24).reshape(12, 2); print(r(x, x[:, 0], 4, dimension=2, design=8, seed=5).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    x = np.linspace(0, 1, 24).reshape(12, 2)
    assert done.stdout.strip() == refine_points(x, x[:, 0], 4, dimension=2, design=8, seed=5).tobytes().hex()


def test_the_box_shrinks_when_it_disappoints_and_grows_when_it_pays():
    x = np.full((40, 2), 0.5)
    y = np.r_[np.arange(8), np.full(32, -1.0)].astype(float)
    side = lambda n: float(np.ptp(trust_box(x[:n], y[:n], 8, 4), axis=0)[0])  # noqa: E731
    assert [side(8), side(12), side(16), side(20)] == [0.5, 0.25, 0.125, 0.0625]
    y[20:24] = 100.0
    assert side(24) == 0.125
    # A batch that is not complete yet changes nothing.
    assert side(27) == side(24)


def test_the_box_starts_again_when_it_is_tiny():
    x, y = np.full((60, 1), 0.5), np.r_[np.ones(1), np.zeros(59)]
    sides = [float(np.ptp(trust_box(x[:n], y[:n], 1, 1))) for n in range(1, 12)]
    assert sides == [0.5**k for k in range(1, 8)] + [0.5, 0.25, 0.125, 0.0625]


def test_the_box_stays_in_the_cube_around_the_best_point():
    x = np.array([[0.1, 0.9], [0.6, 0.6]])
    np.testing.assert_allclose(trust_box(x, [1.0, 0.0], 2, 4), [[0, 0.65], [0.35, 1.0]])


def _search(seed: int, refine: bool) -> float:
    peak = np.random.default_rng(seed).uniform(0.1, 0.9, 4)
    x, y = np.zeros((0, 4)), np.zeros(0)
    while len(y) < 128:
        new = refine_points(x, y, 8, dimension=4, design=32 if refine else 128, seed=seed)
        assert ((new >= 0) & (new <= 1)).all()
        x, y = np.concatenate((x, new)), np.concatenate((y, 1 - np.abs(new - peak).mean(axis=1)))
    return float(y.max())


def test_refinement_beats_the_design_alone():
    gains = [_search(seed, True) - _search(seed, False) for seed in range(10)]
    assert min(gains) > 0
    assert np.mean(gains) > 0.03


@pytest.mark.parametrize(
    "call",
    [
        lambda: refine_points(np.full((3, 2), 0.5), [1.0, 2.0], 1, dimension=2, design=1, seed=0),
        lambda: refine_points(np.full((2, 2), 0.5), [1.0, np.nan], 1, dimension=2, design=1, seed=0),
        lambda: refine_points(np.full((2, 2), 1.5), [1.0, 2.0], 1, dimension=2, design=1, seed=0),
        lambda: refine_points(np.full((2, 2), 0.5), [1.0, 2.0], 1, dimension=3, design=1, seed=0),
        lambda: design_points(0, 2, seed=0),
        lambda: trust_box(np.zeros((0, 2)), [], 1, 1),
    ],
)
def test_bad_histories_are_refused(call):
    with pytest.raises(ConfigError):
        call()
