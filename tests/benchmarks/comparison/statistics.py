"""Means, standard errors and ranks of a table of trajectories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from comparison.results import Cell
from comparison.trajectory import Point

__all__ = ["Gap", "Mean", "Table", "at_epochs", "at_seconds", "best_peer", "gap", "mean", "mean_ranks", "names"]

Table = Mapping[Cell, Sequence[Point]]
"""Trajectory of each finished cell."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: The mean.
        error: Its standard error, ``s / sqrt(n)`` with the sample's standard deviation; NaN for one seed.
        n: Seeds.
    """

    value: float
    error: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.error:.4f}" if self.n > 1 else f"{self.value:.4f}"


@dataclass(frozen=True, slots=True)
class Gap:
    """How a method compares with another one on the seeds that both have.

    Attributes:
        ratio: Mean test loss of the first over that of the second.
        difference: Mean of the paired differences, the first minus the second.
    """

    ratio: float
    difference: Mean


def mean(values: ArrayLike) -> Mean:
    """Return mean and standard error of the values of several seeds, ``(n,)``; NaNs among them make both NaN."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError("not a vector of at least one value")
    error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else math.nan
    return Mean(float(array.mean()), error, len(array))


def names(table: Table, attribute: str) -> list[str]:
    """Return the values of ``method`` or ``task`` that occur, in the order of the table."""
    return list(dict.fromkeys(getattr(cell, attribute) for cell in table))


def at_epochs(points: Sequence[Point], epochs: ArrayLike) -> NDArray[np.float64]:
    """Return the incumbent's test loss once so many epochs were paid, ``(n,)``; NaN before the first incumbent."""
    return _at([point.epochs for point in points], points, epochs)


def at_seconds(points: Sequence[Point], seconds: ArrayLike) -> NDArray[np.float64]:
    """Return the incumbent's test loss after so many seconds, ``(n,)``; NaN before the first incumbent."""
    return _at([point.seconds for point in points], points, seconds)


def mean_ranks(table: Table, fractions: ArrayLike) -> dict[str, list[Mean]]:
    """Rank the methods by the test loss of their incumbents, over the budget.

    For each task and seed that every method has, methods are ranked from 1, the best; equal ones share the mean of
    their ranks, and those without an incumbent share the last ranks.

    Args:
        table: The trajectories.
        fractions: Shares of the budget, ``(n,)``.

    Returns:
        For each method and fraction the mean over tasks and seeds; empty when no task and seed has all methods.
    """
    methods = names(table, "method")
    blocks: dict[tuple[str, int], dict[str, NDArray[np.float64]]] = {}
    for cell, points in table.items():
        grid = np.asarray(fractions, dtype=np.float64) * cell.budget
        blocks.setdefault((cell.task, cell.seed), {})[cell.method] = at_epochs(points, grid)
    complete = [block for block in blocks.values() if len(block) == len(methods)]
    if not complete:
        return {}
    losses = np.array([[block[method] for method in methods] for block in complete])  # (block, method, fraction)
    ranks = rankdata(np.where(np.isnan(losses), np.inf, losses), axis=1)
    return {
        method: [mean(ranks[:, number, column]) for column in range(ranks.shape[2])]
        for number, method in enumerate(methods)
    }


def best_peer(table: Table, task: str, peers: Sequence[str]) -> str | None:
    """Return the peer with the smallest mean final test loss on a task; None when there is no peer."""
    means = {peer: mean(losses) for peer in peers if (losses := list(_final(table, task, peer).values()))}
    return min(means, key=lambda peer: means[peer].value, default=None)


def gap(table: Table, task: str, first: str, second: str) -> Gap | None:
    """Compare the final test losses of two methods on a task; None when they share no seed."""
    a, b = _final(table, task, first), _final(table, task, second)
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        return None
    left, right = (np.array([losses[seed] for seed in seeds]) for losses in (a, b))
    return Gap(float(left.mean() / right.mean()), mean(left - right))


def _final(table: Table, task: str, method: str) -> dict[int, float]:
    return {cell.seed: points[-1].test for cell, points in table.items() if (cell.task, cell.method) == (task, method)}


def _at(places: Sequence[float], points: Sequence[Point], wanted: ArrayLike) -> NDArray[np.float64]:
    tests = np.array([math.nan, *(point.test for point in points)])
    # A grid is computed in floating point: its point at the budget must not fall short of it.
    grid = np.asarray(wanted, dtype=np.float64) * (1 + 1e-12)
    found: NDArray[np.float64] = tests[np.searchsorted(np.asarray(places, dtype=np.float64), grid, side="right")]
    return found
