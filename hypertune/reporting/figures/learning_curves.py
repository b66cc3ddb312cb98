"""Learning curves: what trials reported while they trained."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Axis, Panel, robust_range, spans_decades
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural, shorten
from hypertune.reporting.figures._curves import curves, drawn_trials, faintness
from hypertune.reporting.figures._shared import joined
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_MAX_METRICS = 4


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if study.many_tasks:
        return LeftOut("a step of this study is a task, not an epoch; see the race")
    columns = _metrics(study)
    if not columns:
        return LeftOut("no trial reported while it trained")
    if study.reports.groupby("trial").size().max() < 2:
        return LeftOut("every trial reported once only")
    shown, all_of_them = drawn_trials(study, columns)
    panels = [panel for panel in (_panel(study, column, shown) for column in columns) if panel is not None]
    caption = "One line is one trial."
    if all_of_them > len(shown):
        caption += f" {len(shown)} of {plural(all_of_them, 'trial')}, evenly by rank."
    return Drawing({"": panels}, caption)


def _metrics(study: Study) -> list[str]:
    """The study's own metric first; what self-tuning reports of itself is not about learning."""
    there = [c for c in study.reports.columns if c.startswith("metrics.") and not c.startswith("metrics.tune/")]
    there = [column for column in there if study.reports[column].notna().any()]
    own = f"metrics.{study.result.metric}"
    return sorted(there, key=lambda column: column != own)[:_MAX_METRICS]


def _panel(study: Study, column: str, shown: set[int]) -> Panel | None:
    lines = curves(study, column, shown)
    if not lines:
        return None
    values = [value for _, _, ys in lines for value in ys]
    log = spans_decades(values)
    name = column.removeprefix("metrics.")
    # Only of the study's metric is it certain which end is the good one.
    falls = study.result.direction if name == study.result.metric else "minimize" if "loss" in name else "maximize"
    others = [line for line in lines if line[0] != study.winner]
    marks = [joined(others, colour="trial", width=1, opacity=faintness(len(lines)))]
    marks += [joined([line], colour="winner", width=2.5) for line in lines if line[0] == study.winner]
    return Panel(marks, Axis("epoch"), Axis("", log, robust_range(values, falls, log=log)), shorten(name), height=240)


FIGURE = Figure("Learning curves", _draw)
