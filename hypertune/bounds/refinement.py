"""Several hyperparameters: a low-discrepancy design, then boxes around the best point that shrink as they disappoint.

There is no exactness here: nothing says that the best mean was found, and the points depend on the tasks, so a
certificate needs held-out tasks.

References:
    [Sobol67] Sobol. On the distribution of points in a cube. USSR Computational Mathematics 7, 1967.
    [Eriksson19] Eriksson, Pearce, Gardner, Turner, Poloczek. Scalable global optimization via local Bayesian
        optimization. NeurIPS 2019. (The rule for the size of a trust region.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats.qmc import Sobol, scale

from hypertune.bounds._checks import check_count
from hypertune.errors import ConfigError

__all__ = ["design_points", "refine_points", "trust_box"]

_FIRST_SIDE = 0.5
_SMALLEST_SIDE = 0.5**7


def design_points(count: int, dimension: int, *, seed: int, start: int = 0) -> NDArray[np.float64]:
    """Return points of a scrambled Sobol sequence.

    Args:
        count: Number of points, from 1.
        dimension: Number of hyperparameters, from 1.
        seed: Seed of the scrambling.
        start: How many points of the sequence to leave out, from 0, so that a design can be continued.

    Returns:
        Points in [0, 1), ``(count, dimension)``.
    """
    size, skipped = check_count(count, "count"), check_count(start, "start", 0)
    # Powers of two keep the sequence balanced, and spare a warning; what is not needed is dropped.
    length = 1 << (skipped + size - 1).bit_length()
    generator = np.random.default_rng(seed)
    points: NDArray[np.float64] = Sobol(check_count(dimension, "dimension"), seed=generator).random(length)
    chosen: NDArray[np.float64] = points[skipped : skipped + size]
    return chosen


def trust_box(points: ArrayLike, values: ArrayLike, design: int, batch: int) -> NDArray[np.float64]:
    """Return the box to look in next, from the order in which the points were tried.

    It is centred on the best point and cut to the cube. Its side starts at 1/2; every batch after the design that
    brought a new best doubles it, up to 1, every other one halves it; below 1/128 it starts again.

    Args:
        points: Points tried, ``(n, dimension)`` in [0, 1], oldest first; at least 1.
        values: Their mean utilities, ``(n,)``.
        design: Points of the design at the start, from 1.
        batch: Points of a batch, from 1.

    Returns:
        Lower and upper corner, ``(2, dimension)``.
    """
    x, y = _history(points, values)
    first, size = check_count(design, "design"), check_count(batch, "batch")
    side = _FIRST_SIDE
    for end in range(first + size, len(y) + 1, size):
        side = min(2 * side, 1.0) if y[end - size : end].max() > y[: end - size].max() else side / 2
        if side < _SMALLEST_SIDE:
            side = _FIRST_SIDE
    centre = x[int(np.argmax(y))]
    box: NDArray[np.float64] = np.clip(np.stack((centre - side / 2, centre + side / 2)), 0.0, 1.0)
    return box


def refine_points(
    points: ArrayLike, values: ArrayLike, count: int, *, dimension: int, design: int, seed: int
) -> NDArray[np.float64]:
    """Propose points from all that were tried; the same history gives the same points.

    Args:
        points: Points tried, ``(n, dimension)`` in [0, 1], oldest first; n may be 0.
        values: Their mean utilities, ``(n,)``, larger is better.
        count: Points to propose, from 1; also the size of the batches before.
        dimension: Number of hyperparameters, from 1.
        design: Points of the design at the start, from 1.
        seed: Seed of the design and of the points in the boxes.

    Returns:
        Points in [0, 1], ``(count, dimension)``: of the design while fewer than ``design`` were tried, then of the
        `trust_box`.

    Raises:
        ConfigError: Shapes that do not match, values that are not finite, or points outside the cube.
    """
    size, first = check_count(count, "count"), check_count(design, "design")
    tried = len(np.asarray(values))
    if tried < first:
        return design_points(size, dimension, seed=seed, start=tried)
    low, high = trust_box(points, values, first, size)
    if len(low) != dimension:
        raise ConfigError("have another dimension", where="points", given=len(low), expected=str(dimension))
    # A fresh scrambling for every batch: the same points in a smaller box would repeat directions.
    fresh = int(np.random.SeedSequence([seed, tried]).generate_state(1)[0])
    proposed: NDArray[np.float64] = scale(design_points(size, dimension, seed=fresh), low, high)
    return proposed


def _history(points: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(points, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or len(y) == 0:
        raise ConfigError(
            "are not points with their values",
            where="points, values",
            given=(x.shape, y.shape),
            expected="(n, dimension) and (n,), n at least 1",
        )
    if not (np.isfinite(y).all() and (x >= 0).all() and (x <= 1).all()):
        raise ConfigError("are not in the cube, with finite values", where="points, values", expected="[0, 1]")
    return x, y
