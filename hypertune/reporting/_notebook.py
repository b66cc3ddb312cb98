"""A study in a notebook's cell: small HTML without scripts, in the notebook's own colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

from hypertune.records import Direction, TrialRecord
from hypertune.reporting._text import duration, number, shorten, value_text

__all__ = ["study_html"]

_ROWS = 8
_COLUMNS = 8
_WINNER = "#d9480f"
_WIDTH, _HEIGHT = 260, 46


def study_html(
    name: str,
    metric: str,
    direction: Direction,
    finished: bool,
    counts: Mapping[str, int],
    best: TrialRecord | None,
    trials: Sequence[TrialRecord],
) -> str:
    """Return a study as HTML: what became of its trials, the history of the best value, the best trials."""
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count) or "no trials"
    seconds = duration(sum(trial.cost.seconds for trial in trials))
    end = "" if finished else "; not finished"
    head = Markup("<div><b>{}</b> · {} {} · {}{} · {} of trials</div>").format(
        shorten(name, 80), direction, shorten(metric, 60), states, end, seconds
    )
    if best is None:
        return str(Markup("<div>{}<div>no trial is complete</div></div>").format(head))
    sign = 1.0 if direction == "minimize" else -1.0
    measured = [t for t in trials if t.state == "complete" and t.value is not None and math.isfinite(t.value)]
    ranked = sorted(measured, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    won = Markup('<div style="color:{}"><b>trial {}: {}</b></div>').format(_WINNER, best.number, number(best.value))
    return str(Markup("<div>{}{}{}{}</div>").format(head, won, _line(measured, sign), _table(ranked[:_ROWS], best)))


def _table(trials: Sequence[TrialRecord], best: TrialRecord) -> Markup:
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    shown = names[:_COLUMNS]
    heads = Markup("").join(Markup("<th>{}</th>").format(shorten(text, 24)) for text in ("trial", "value", *shown))
    rows = Markup("")
    for trial in trials:
        style = Markup(' style="color:{}"').format(_WINNER) if trial.number == best.number else Markup("")
        cells = [str(trial.number), number(trial.value), *(_value(trial, name) for name in shown)]
        rows += Markup("<tr{}>{}</tr>").format(style, Markup("").join(Markup("<td>{}</td>").format(c) for c in cells))
    more = f"and {len(names) - len(shown)} more hyperparameters" if len(names) > len(shown) else ""
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}").format(heads, rows, escape(more))


def _value(trial: TrialRecord, name: str) -> str:
    if name not in trial.params:
        return ""
    start = shorten(value_text(trial.params[name]), 24)
    return f"{start} → {number(trial.tuned[name])}" if name in trial.tuned else start


def _line(trials: Sequence[TrialRecord], sign: float) -> Markup:
    """The best value by trial, as a line without axes."""
    bests: list[float] = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        cost = sign * (trial.value or 0.0)
        bests.append(min(cost, bests[-1]) if bests else cost)
    if len(bests) < 3 or bests[0] == bests[-1]:
        return Markup("")
    across, down = _WIDTH / (len(bests) - 1), _HEIGHT / (bests[0] - bests[-1])
    points = " ".join(f"{i * across:.1f},{3 + (bests[0] - value) * down:.1f}" for i, value in enumerate(bests))
    return Markup(
        '<svg width="{}" height="{}" role="img" aria-label="best value by trial">'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    ).format(_WIDTH, _HEIGHT + 6, points)
