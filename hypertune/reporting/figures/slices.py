"""Slices: the value of each trial against each hyperparameter alone."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural
from hypertune.reporting.figures._shared import beyond, evenly, metric_axis, spread, varying_axes, winner_mark
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_MAX_TRIALS = 400


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if not study.measured:
        return LeftOut("no trial has a value yet")
    axes = varying_axes(study)
    if not axes:
        return LeftOut("every hyperparameter has one value only")
    values = [trial.value for trial in study.measured]
    y = metric_axis(study, values)
    shown = evenly(study.ranked(), _MAX_TRIALS)
    panels = []
    for axis in axes:
        there = [trial for trial in shown if axis.name in trial.params]
        x = [spread(trial, axis, trial.params[axis.name]) for trial in there]
        numbers: list[int | None] = [trial.number for trial in there]
        marks = [Mark("points", x, [trial.value for trial in there], trials=numbers, opacity=0.65)]
        best = study.result.best
        if best is not None and axis.name in best.params:
            marks += winner_mark(study, spread(best, axis, best.params[axis.name]), best.value, label=False)
        missing = sum(axis.name not in trial.params for trial in study.measured)
        doc = f"{axis.doc}; {missing} trials without it" if missing and axis.doc else axis.doc
        doc = doc or (f"{missing} trials without it" if missing else "")
        panels.append(Panel(marks, axis.axis(), y, axis.title, doc, 220))
    cut = beyond(y, values)
    caption = "Each point is a complete trial at the value it started with; ranges are those of the search space."
    if len(shown) < len(study.measured):
        caption += f" {len(shown)} of {plural(len(study.measured), 'trial')}, evenly by rank."
    return Drawing({"": panels}, f"{caption} {plural(cut, 'trial')} worse than the range shown." if cut else caption)


FIGURE = Figure("Each hyperparameter alone", _draw)
