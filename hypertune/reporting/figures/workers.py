"""Time line of the workers: which trial ran where and when, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from hypertune.records import TrialRecord
from hypertune.reporting._chart import Axis, Colour, Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import duration, plural, shorten
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]

_COLOURS: dict[str, Colour] = {
    "complete": "trial",
    "pruned": "pruned",
    "failed": "failed",
    "interrupted": "failed",
    "running": "accent",
}
_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
_MAX_ROWS = 64


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    ran = [trial for trial in study.result.trials if trial.number in study.starts]
    if not ran:
        return LeftOut("no trial has started yet")
    now = max([*study.starts.values(), *study.ends.values(), *study.reports["clock"].tolist()])
    names = sorted({study.workers.get(trial.number, "") for trial in ran}, key=_natural)
    rows = {name: -float(row) for row, name in enumerate(names[:_MAX_ROWS])}
    ran = [trial for trial in ran if study.workers.get(trial.number, "") in rows]
    size, unit = next((size, unit) for size, unit in _UNITS if now >= 2 * size or size == 1)
    groups: dict[Colour, list[TrialRecord]] = {}
    for trial in ran:
        groups.setdefault("winner" if trial.number == study.winner else _COLOURS[trial.state], []).append(trial)
    marks = []
    for colour, trials in groups.items():
        starts = [study.starts[trial.number] / size for trial in trials]
        ends = [study.ends.get(trial.number, now) / size for trial in trials]
        numbers: list[int | None] = [trial.number for trial in trials]
        marks.append(
            Mark("bars", ends, [rows[study.workers.get(t.number, "")] for t in trials], colour, starts, numbers)
        )
    busy = sum(study.ends.get(trial.number, now) - study.starts[trial.number] for trial in ran)
    share = busy / (now * len(rows)) if now > 0 else 1.0
    ticks = {row: shorten(name, 20) or "worker" for name, row in rows.items()}
    panel = Panel(
        marks,
        Axis(unit, range=(-0.01 * now / size, 1.02 * now / size or 1.0)),
        Axis(ticks=ticks, range=(-len(rows) + 0.4, 0.6)),
        height=90 + 26 * len(rows),
    )
    caption = f"One bar is one trial. {plural(len(rows), 'worker')}, busy {min(share, 1.0):.0%} of {duration(now)}."
    states = [state for state in ("pruned", "failed", "interrupted", "running") if study.result.counts[state]]
    if states:
        caption += " Pale bars were pruned." if "pruned" in states else ""
        caption += " Red bars failed or were interrupted." if {"failed", "interrupted"} & set(states) else ""
        caption += " Blue bars are running." if "running" in states else ""
    if len(names) > _MAX_ROWS:
        caption += f" {len(names) - _MAX_ROWS} further workers are not shown."
    return Drawing({"": [panel]}, caption)


def _natural(name: str) -> tuple[str, int, str]:
    """Sort ``local-10`` behind ``local-9``."""
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or -1), name


FIGURE = Figure("What the workers did", _draw)
