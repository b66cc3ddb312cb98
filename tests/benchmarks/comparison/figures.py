"""The table as a figure: test loss over epochs and over seconds for each task, and mean rank over the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from comparison.statistics import Table, at_epochs, at_seconds, mean_ranks, names
from comparison.trajectory import Point

__all__ = ["draw"]

_POINTS = 100
_Lookup = Callable[[Sequence[Point], NDArray[np.float64]], NDArray[np.float64]]


def draw(table: Table, path: Path) -> None:
    """Draw the figure into a file.

    A curve is the mean over seeds of the test loss of the incumbent, which validation chose; it begins where every
    seed has an incumbent. The band is one standard error.
    """
    tasks, methods = names(table, "task"), names(table, "method")
    palette = mpl.colormaps["tab10"]
    colours = {method: palette(number % palette.N) for number, method in enumerate(methods)}
    figure = Figure(figsize=(4.2 * (len(tasks) + 1), 7.0), layout="constrained")
    axes = figure.subplots(2, len(tasks) + 1, squeeze=False)
    for column, task in enumerate(tasks):
        cells = {cell: points for cell, points in table.items() if cell.task == task}
        by_method = {method: [points for cell, points in cells.items() if cell.method == method] for method in methods}
        top = max(points[-1].epochs for points in cells.values())
        _curves(axes[0, column], by_method, colours, top, at_epochs)
        axes[0, column].set(title=task, xlabel="epochs paid, all trials", ylabel="test loss of the incumbent")
        slowest = max(points[-1].seconds for points in cells.values())
        _curves(axes[1, column], by_method, colours, slowest, at_seconds)
        axes[1, column].set(xlabel="seconds, one core", ylabel="test loss of the incumbent")
    fractions = np.linspace(0.02, 1.0, _POINTS)
    for method, ranks in mean_ranks(table, fractions).items():
        axes[0, -1].plot(fractions, [rank.value for rank in ranks], color=colours[method], label=method)
    axes[0, -1].set(title="mean rank, 1 is best", xlabel="share of the peers' epochs", ylabel="rank by test loss")
    axes[1, -1].axis("off")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[1, -1].legend(handles, labels, loc="center", frameon=False)
    figure.savefig(path, dpi=110)


def _curves(
    axes: Axes,
    by_method: dict[str, list[Sequence[Point]]],
    colours: dict[str, tuple[float, float, float, float]],
    top: float,
    lookup: _Lookup,
) -> None:
    grid = np.linspace(0, top, _POINTS + 1)[1:]
    shown: list[float] = []
    for method, trajectories in by_method.items():
        if not trajectories:
            continue
        losses = np.array([lookup(points, grid) for points in trajectories])
        middle = losses.mean(axis=0)
        error = losses.std(axis=0, ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else np.zeros_like(middle)
        axes.plot(grid, middle, drawstyle="steps-post", color=colours[method], label=method)
        axes.fill_between(grid, middle - error, middle + error, step="post", color=colours[method], alpha=0.15, lw=0)
        later = middle[_POINTS // 4 :]
        shown += later[np.isfinite(later)].tolist()
    if shown:
        # What a search holds after its first trials would flatten what is to be seen.
        margin = 0.1 * max(shown)
        axes.set_ylim(max(0.0, min(shown) - margin), max(shown) + margin)
    axes.grid(alpha=0.3)
