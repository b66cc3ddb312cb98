"""Start-to-end map: where in-trial tuning began, where it ended, and what the trial was worth."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural
from hypertune.reporting.figures._shared import HyperparameterAxis, evenly, joined, metric_axis
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_MAX_TRIALS = 150


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    tuned = [trial for trial in study.ranked() if trial.tuned]
    shown = evenly(tuned, _MAX_TRIALS)
    names = [name for name in study.names if any(name in trial.tuned for trial in tuned)]
    if not names:
        return LeftOut("no complete trial tuned a hyperparameter while it trained")
    y = metric_axis(study, [trial.value for trial in study.measured])
    panels = []
    for name in names:
        axis = HyperparameterAxis.of(study, name)
        moves = [
            (trial.number, start, end, trial.value)
            for trial in shown
            if name in trial.params and name in trial.tuned and trial.value is not None
            for start, end in [(axis.place(trial.params[name]), axis.place(trial.tuned[name]))]
            if start is not None and end is not None
        ]
        others = [move for move in moves if move[0] != study.winner]
        mine = [move for move in moves if move[0] == study.winner]
        marks = []
        for group, colour, width, size in ((others, "trial", 1.0, 6.0), (mine, "winner", 2.5, 10.0)):
            if not group:
                continue
            numbers, starts, ends, values = (list(column) for column in zip(*group, strict=True))
            style = {"colour": colour, "opacity": 1.0 if colour == "winner" else 0.6}
            marks += [
                joined(((n, (s, e), (v, v)) for n, s, e, v in group), width=width, **style),
                Mark("points", starts, values, trials=numbers, size=size, hollow=True, **style),  # type: ignore[arg-type]
                Mark("points", ends, values, trials=numbers, size=size, **style),  # type: ignore[arg-type]
            ]
        panels.append(Panel(marks, axis.axis(), y, axis.title, axis.doc, 240))
    caption = (
        "Each trial is a line from where the hyperparameter started (open) to where tuning ended (filled), at the "
        "height of the trial's value."
    )
    if len(shown) < len(tuned):
        caption += f" {len(shown)} of {plural(len(tuned), 'trial')}, evenly by rank."
    return Drawing({"": panels}, caption)


FIGURE = Figure("From start to end of self-tuning", _draw)
