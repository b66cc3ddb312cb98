"""Optimization history: what trials reached, against what had been spent by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypertune.records import TrialRecord
from hypertune.reporting._chart import Axis, Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural
from hypertune.reporting.figures._costs import cost_views
from hypertune.reporting.figures._shared import beyond, metric_axis, winner_mark
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if not study.measured:
        return LeftOut("no trial has a value yet")
    views = {view.name: [_panel(study, view.title, view.spent)] for view in cost_views([study])}
    values = [trial.value for trial in study.measured]
    cut = beyond(metric_axis(study, values), values)
    caption = "Each point is a trial at the moment it ended; the line is the best value by then."
    if _pruned(study, study.ends):
        caption += " Open circles were pruned, at the last value they reported."
    return Drawing(views, f"{caption} {plural(cut, 'trial')} worse than the range shown." if cut else caption)


def _panel(study: Study, title: str, spent: Sequence[dict[int, float]]) -> Panel:
    (at,) = spent
    by_end = sorted((trial for trial in study.measured if trial.number in at), key=lambda trial: at[trial.number])
    values = [trial.value for trial in by_end]
    x = [at[trial.number] for trial in by_end]
    best: list[float] = []
    for trial in by_end:
        assert trial.value is not None
        best.append(trial.value if not best or study.better(trial.value, best[-1]) else best[-1])
    pruned = _pruned(study, at)
    last = max(at.values(), default=0.0)
    marks = [
        Mark("step", [*x, last], [*best, best[-1]], "best", width=2),
        Mark("points", x, values, "trial", trials=[trial.number for trial in by_end], opacity=0.75),
        Mark(
            "points",
            [at[trial.number] for trial, _ in pruned],
            [value for _, value in pruned],
            "pruned",
            trials=[trial.number for trial, _ in pruned],
            hollow=True,
        ),
    ]
    winner = study.result.best
    if winner is not None:
        marks += winner_mark(study, at.get(winner.number), winner.value)
    return Panel(marks, Axis(title, range=(-0.02 * last, 1.04 * last or 1.0)), metric_axis(study, values), height=380)


def _pruned(study: Study, at: Mapping[int, float]) -> list[tuple[TrialRecord, float]]:
    """Pruned trials with the last value they reported."""
    column = f"metrics.{study.result.metric}"
    if column not in study.reports.columns or study.many_tasks:
        return []
    last = study.reports.dropna(subset=[column]).groupby("trial")[column].last()
    return [
        (trial, float(last[trial.number]))
        for trial in study.result.trials
        if trial.state == "pruned" and trial.number in at and trial.number in last.index
    ]


FIGURE = Figure("Best value against cost", _draw)
