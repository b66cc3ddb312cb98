"""Studies side by side: the best value of each against what it had spent."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Axis, Colour, Mark, Panel, robust_range, spans_decades
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, shorten
from hypertune.reporting.figures._costs import CostView, cost_views
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_COLOURS: tuple[Colour, ...] = ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7")


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    if len(studies) < 2:
        return LeftOut("there is one study only")
    if not any(study.measured for study in studies):
        return LeftOut("no trial has a value yet")
    # Studies of one metric share a panel; values of different metrics do not compare.
    groups = dict.fromkeys((study.result.metric, study.result.direction) for study in studies)
    views = {
        view.name: [panel for metric, way in groups if (panel := _panel(studies, view, metric, way, len(groups) > 1))]
        for view in cost_views(studies)
    }
    caption = "The line of a study is its best value by then; the point is its winner, where it was found."
    empty = [study.name for study in studies if not study.measured]
    if empty:
        caption += f" Without a value yet: {', '.join(shorten(name) for name in empty)}."
    return Drawing(views, caption)


def _panel(studies: Sequence[Study], view: CostView, metric: str, direction: str, titled: bool) -> Panel | None:
    marks, values = [], []
    for index, study in enumerate(studies):
        at = view.spent[index]
        ended = sorted((trial for trial in study.measured if trial.number in at), key=lambda trial: at[trial.number])
        if (study.result.metric, study.result.direction) != (metric, direction) or not ended:
            continue
        x: list[float] = []
        y: list[float] = []
        for trial in ended:
            if trial.value is not None and (not y or study.better(trial.value, y[-1])):
                x.append(at[trial.number])
                y.append(trial.value)
        colour = _COLOURS[index % len(_COLOURS)]
        texts = [f"{study.name}: {number(value)}" for value in y]
        last = max(at.values())
        label = f"{shorten(study.name, 20)} {number(y[-1], 3)}"
        marks.append(Mark("step", [*x, last], [*y, y[-1]], colour, texts=[*texts, texts[-1]], width=2.5, label=label))
        marks.append(Mark("points", x[-1:], y[-1:], colour, texts=texts[-1:], size=9))
        values += y
    if not marks:
        return None
    log = spans_decades(values)
    longest = max(max(spent.values(), default=0.0) for spent in view.spent)
    # The first trials of a study may be far off; what counts are the values it came down to.
    axis = Axis(shorten(metric), log, robust_range(values, direction, log=log))
    title = f"{direction} {shorten(metric)}" if titled else ""
    return Panel(marks, Axis(view.title, range=(0.0, longest * 1.3)), axis, title, height=400)


FIGURE = Figure("Best value against cost", _draw, compares=True)
