"""The race over tasks: mean of each candidate after each task, and where it was stopped."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.reporting._chart import Axis, Mark, Panel, robust_range
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, plural, shorten
from hypertune.reporting.figures._curves import drawn_trials
from hypertune.reporting.figures._shared import joined
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    metric = study.result.metric
    column = f"metrics.{metric}"
    if not study.many_tasks or column not in study.reports.columns:
        return LeftOut("not a study over many tasks")
    shown, all_of_them = drawn_trials(study, [column])
    chosen = study.reports.loc[study.reports["trial"].isin(shown), ["trial", "step", column]].dropna()
    lines = []
    for trial, group in chosen.groupby("trial", sort=True):
        means = group[column].expanding().mean()
        lines.append((int(str(trial)), (group["step"] + 1).astype(float).tolist(), means.tolist()))
    state = {trial.number: trial.state for trial in study.result.trials}
    survivors = set(study.findings.get("survivors") or [])
    stopped = [line for line in lines if state.get(line[0]) == "pruned"]
    finished = [line for line in lines if state.get(line[0]) != "pruned" and line[0] not in survivors]
    alive = [line for line in lines if line[0] in survivors]
    marks = [
        joined(stopped, colour="pruned", width=1),
        Mark(
            "points",
            [line[1][-1] for line in stopped],
            [line[2][-1] for line in stopped],
            "pruned",
            trials=[line[0] for line in stopped],
        ),
        joined(finished, colour="trial", width=1.2, opacity=0.7),
        joined((line for line in alive if line[0] != study.winner), colour="accent", width=1.2, opacity=0.7),
    ]
    winner = study.result.best
    marks += [
        joined([line], colour="winner", width=3, label=f"trial {line[0]}: {number(line[2][-1])}")
        for line in lines
        if winner is not None and line[0] == winner.number
    ]
    # The first means are of a task or two, and as wide as the tasks are different.
    settled = [value for _, xs, ys in lines for at, value in zip(xs, ys, strict=True) if at >= 3] or None
    span = robust_range(settled, study.result.direction) if settled else None
    longest = max((line[1][-1] for line in lines), default=1.0)
    panel = Panel(
        marks,
        Axis("tasks done", range=(1 - 0.02 * longest, longest * 1.22)),
        Axis(f"mean {shorten(metric)} so far", range=span),
        height=380,
    )
    counted = {"stopped early": len(stopped), "not shown to be worse": len(survivors)}
    words = ", ".join(f"{count} {what}" for what, count in counted.items() if count)
    caption = f"Each line is a candidate: {plural(all_of_them, 'candidate')}{', ' + words if words else ''}."
    if survivors:
        caption += " Blue and orange ones are those that no other was shown to beat."
    return Drawing({"": [panel]}, caption)


FIGURE = Figure("The race over tasks", _draw)
