"""Certificates: what was measured, and what is guaranteed of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypertune.reporting._chart import Axis, Mark, Panel
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, shorten
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut

__all__ = ["FIGURE"]


@dataclass(frozen=True, slots=True)
class _Row:
    what: str
    measured: float
    bound: float
    sure: float | None
    n: int


def _draw(studies: Sequence[Study]) -> Drawing | LeftOut:
    (study,) = studies
    rows = [row for row in _rows(study) if math.isfinite(row.measured) and math.isfinite(row.bound)]
    if not rows:
        why = _why_not(study)
        return LeftOut(f"nothing is certified{': ' + why if why else ''}")
    panels = [_panel(row) for row in rows]
    return Drawing(
        {"": panels},
        "The point is what was measured; the bar reaches to what is guaranteed. A long bar is a weak guarantee.",
    )


def _rows(study: Study) -> list[_Row]:
    rows = []
    found = study.findings.get("certificate")
    if isinstance(found, Mapping):
        rows.append(_row("utility on new tasks, from the tasks of the search", found, "value"))
    best = study.result.best
    if best is not None and "hold_out/certified" in best.metrics:
        metrics = best.metrics
        rows.append(
            _Row(
                f"{study.result.metric} on new tasks, from held-out tasks",
                metrics.get("hold_out/mean", math.nan),
                metrics["hold_out/certified"],
                None,
                int(metrics.get("hold_out/tasks", 0)),
            )
        )
    selection = study.findings.get("selection")
    if isinstance(selection, Mapping) and "bound" in selection:
        of = {"test": "test", "reserved": "reserved", "val": "validation"}.get(str(selection.get("split")), "")
        rows.append(_row(f"{study.result.metric} on new examples, from {of} examples", selection, "bound"))
    return rows


def _row(what: str, found: Mapping[str, Any], bound: str) -> _Row:
    try:
        sure = 1 - float(found["delta"])
        return _Row(what, float(found["estimate"]), float(found[bound]), sure, int(found["n"]))
    except (KeyError, TypeError, ValueError):
        return _Row(what, math.nan, math.nan, None, 0)


def _panel(row: _Row) -> Panel:
    low, high = min(row.measured, row.bound), max(row.measured, row.bound)
    pad = max(0.25 * (high - low), 0.02 * abs(high), 1e-9)
    sure = "" if row.sure is None else f"with {row.sure:.0%} confidence "
    side = "at least" if row.bound <= row.measured else "at most"
    text = f"measured {number(row.measured)} on {row.n}; {sure}{side} {number(row.bound)}"
    marks = [
        Mark("line", [low, high], [0.0, 0.0], "accent", width=6, opacity=0.55),
        Mark("points", [row.bound], [0.0], "accent", texts=[text], size=10, hollow=True),
        Mark("points", [row.measured], [0.0], "winner", texts=[text], size=11),
    ]
    axis = Axis("", range=(low - pad, high + pad))
    return Panel(marks, axis, Axis(ticks={}, range=(-1.0, 1.0)), shorten(row.what, 60), text, 110)


def _why_not(study: Study) -> str:
    selection = study.findings.get("selection")
    inner = selection.get("not_certified") if isinstance(selection, Mapping) else None
    return str(study.findings.get("not_certified") or inner or "")


FIGURE = Figure("How far to trust it", _draw)
