"""Predicted against real: how well a model ranked the trials before they ran."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from hypertune.reporting._chart import Axis as ChartAxis
from hypertune.reporting._chart import Mark, Panel, robust_range, spans_decades
from hypertune.reporting._study import Study
from hypertune.reporting._text import plural, shorten
from hypertune.reporting.figures._shared import winner_mark
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if not study.predicted:
        return LeftOut("no model predicted its trials")
    pairs = [
        (trial.number, study.predicted[trial.number], trial.value)
        for trial in study.measured
        if trial.number in study.predicted and trial.value is not None
    ]
    if len(pairs) < 2:
        return LeftOut("fewer than two complete trials have a prediction")
    numbers, predicted, real = (list(column) for column in zip(*pairs, strict=True))
    both = [*predicted, *real]
    log = spans_decades(both)
    span = robust_range(both, study.result.direction, log=log)
    assert span is not None
    metric = shorten(study.result.metric)
    marks = [
        Mark("line", list(span), list(span), "muted", dashed=True),
        Mark("points", predicted, real, "trial", trials=[int(n) for n in numbers], opacity=0.75),
    ]
    if study.winner in study.predicted and study.result.best is not None:
        marks += winner_mark(study, study.predicted[study.result.best.number], study.result.best.value)
    panel = Panel(
        marks,
        ChartAxis(f"predicted {metric}", log, span),
        ChartAxis(f"real {metric}", log, span),
        height=380,
    )
    caption = f"On the dashed line a prediction is right. {plural(len(pairs), 'trial')}"
    rank = pd.Series(predicted).corr(pd.Series(real), method="pearson" if len(pairs) < 3 else "spearman")
    caption += f"; rank correlation {rank:.2f}." if len(pairs) >= 3 and rank == rank else "."
    return Drawing({"": [panel]}, caption)


FIGURE = Figure("Predicted against real", _draw)
