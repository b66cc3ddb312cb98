"""Series of reports as lines, few enough to draw."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hypertune.reporting._study import Study

__all__ = ["Line", "curves", "drawn_trials", "faintness"]

Line = tuple[int, Sequence[float], Sequence[float]]

_MAX_TRIALS = 150
_MAX_POINTS = 120


def drawn_trials(study: Study, columns: Collection[str]) -> tuple[set[int], int]:
    """Return which trials to draw, and how many have anything to draw.

    All of them, or 150 evenly by rank, those without a value last; the winner is always among them.
    """
    there = study.reports.dropna(subset=list(columns), how="all")["trial"].unique().tolist()
    rank = {trial.number: place for place, trial in enumerate(study.ranked())}
    ordered = sorted(there, key=lambda trial: (rank.get(trial, len(rank)), trial))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), _MAX_TRIALS)).round().astype(int))
    return {int(ordered[place]) for place in places} if ordered else set(), len(ordered)


def curves(study: Study, column: str, trials: Collection[int]) -> list[Line]:
    """Return ``(trial, steps, values)`` of one column for some trials; long series are thinned to 120 points."""
    reports = study.reports
    if column not in reports.columns:
        return []
    chosen = reports.loc[reports["trial"].isin(trials), ["trial", "step", column]].dropna()
    lines: list[Line] = []
    for trial, group in chosen.groupby("trial", sort=True):
        steps, values = group["step"].to_numpy(dtype=float), group[column].to_numpy(dtype=float)
        keep = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MAX_POINTS)).round().astype(int))
        lines.append((int(str(trial)), steps[keep].tolist(), values[keep].tolist()))
    return lines


def faintness(count: int) -> float:
    """Return the opacity at which so many lines are still told apart."""
    return max(0.2, min(0.8, 14 / max(count, 1)))
