"""Self-tuning paths: each self-tuned hyperparameter over the epochs of each trial, in its whole range."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Axis, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, plural
from hypertune.reporting.figures._curves import curves, drawn_trials, faintness
from hypertune.reporting.figures._shared import HyperparameterAxis, joined
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    columns = [column for column in study.reports.columns if column.startswith("tuned.")]
    names = [name for name in study.names if f"tuned.{name}" in columns]
    if not names:
        return LeftOut("no trial tuned a hyperparameter while it trained")
    shown, all_of_them = drawn_trials(study, columns)
    panels = []
    for name in names:
        axis = HyperparameterAxis.of(study, name)
        lines = curves(study, f"tuned.{name}", shown)
        others = [line for line in lines if line[0] != study.winner]
        mine = [line for line in lines if line[0] == study.winner]
        marks = [joined(others, colour="trial", width=1, opacity=faintness(len(lines)))]
        if mine:
            end = mine[0][2][-1]
            marks.append(joined(mine, colour="winner", width=2.5, label=number(end, 3)))
        panels.append(Panel(marks, Axis("epoch"), axis.axis(), axis.title, axis.doc, 220))
    caption = "One line is one trial; the axis is the whole range of the search space. The winner's end is written out."
    if all_of_them > len(shown):
        caption += f" {len(shown)} of {plural(all_of_them, 'trial')}, evenly by rank."
    return Drawing({"": panels}, caption)


FIGURE = Figure("Self-tuning paths", _draw)
