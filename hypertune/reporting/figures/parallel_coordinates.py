"""Parallel coordinates: whole configurations, one line each, and which of them are good."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypertune.records import TrialRecord
from hypertune.reporting._chart import Axis, Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, plural, shorten, value_text
from hypertune.reporting.figures._curves import faintness
from hypertune.reporting.figures._shared import HyperparameterAxis, evenly, varying_axes
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_MAX_AXES = 12
_MAX_LINES = 200
_ABSENT = -0.12  # height of a hyperparameter that a trial does not have
_SHARES = (("best half", 0.5), ("best fifth", 0.2), ("best twentieth", 0.05), ("all", 1.0))


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    if len(study.measured) < 2:
        return LeftOut("fewer than two complete trials")
    axes = varying_axes(study)
    if not axes:
        return LeftOut("every hyperparameter has one value only")
    left_out = axes[_MAX_AXES:]
    axes = axes[:_MAX_AXES]
    ranked = study.ranked()
    views = {}
    for name, share in _SHARES:
        chosen = ranked[: max(1, math.ceil(share * len(ranked)))]
        if name == "all" or len(chosen) >= 3:
            views[name] = [_panel(study, axes, chosen)]
    caption = "Each line is a complete trial from its hyperparameters, each over its whole range, to its rank by value."
    if any(axis.name not in trial.params for axis in axes for trial in ranked):
        caption += " Lines run below an axis where a trial does not have the hyperparameter."
    if len(ranked) > _MAX_LINES:
        caption += f" At most {plural(_MAX_LINES, 'line')}, evenly by rank."
    if left_out:
        caption += f" Not shown: {', '.join(shorten(axis.name) for axis in left_out)}."
    return Drawing(views, caption)


def _panel(study: Study, axes: Sequence[HyperparameterAxis], chosen: Sequence[TrialRecord]) -> Panel:
    kept = evenly(chosen, _MAX_LINES)
    count = len(study.measured)
    rank = {trial.number: place / max(count - 1, 1) for place, trial in enumerate(study.ranked())}
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in kept[1:]:
        x += [*map(float, range(len(axes) + 1)), None]
        y += [*_heights(trial, axes), 1 - rank[trial.number], None]
        numbers += [trial.number] * (len(axes) + 1) + [None]
    marks = [Mark("line", [i, i], [0.0, 1.0], "muted", width=1) for i in range(len(axes) + 1)]
    marks.append(Mark("line", x, y, "trial", trials=numbers, width=1, opacity=faintness(len(kept))))
    best = kept[0]
    marks.append(
        Mark(
            "line",
            [*map(float, range(len(axes) + 1))],
            [*_heights(best, axes), 1.0],
            "winner",
            trials=[best.number] * (len(axes) + 1),
            width=3,
            label=number(best.value),
        )
    )
    ticks = {float(i): _tick(axis) for i, axis in enumerate(axes)} | {float(len(axes)): "rank"}
    return Panel(
        marks,
        Axis("", range=(-0.3, len(axes) + 0.6), ticks=ticks),
        Axis("", range=(-0.18, 1.08), ticks={0.0: "low", 1.0: "high"} | ({_ABSENT: "none"} if _ABSENT in y else {})),
        height=380,
        min_width=90 * (len(axes) + 1),
    )


def _heights(trial: TrialRecord, axes: Sequence[HyperparameterAxis]) -> list[float | None]:
    heights: list[float | None] = []
    for axis in axes:
        share = axis.share(trial.params[axis.name]) if axis.name in trial.params else None
        heights.append(_ABSENT if share is None else share)
    return heights


def _tick(axis: HyperparameterAxis) -> str:
    if axis.choices:
        ends = f"{shorten(value_text(axis.choices[0]), 9)}…{shorten(value_text(axis.choices[-1]), 9)}"
    else:
        ends = f"{number(axis.low, 2)}…{number(axis.high, 2)}{' log' if axis.log else ''}"
    return f"{shorten(axis.name, 14)}\n{ends}"


FIGURE = Figure("Whole configurations", _draw)
