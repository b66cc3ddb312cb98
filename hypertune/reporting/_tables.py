"""Tables of a report: trials, failures, studies side by side."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hypertune._secrets import redact
from hypertune.errors import ConfigError, did_you_mean
from hypertune.reporting._study import Study
from hypertune.reporting._text import duration, number, plural, shorten, value_text
from hypertune.reporting.dashboards import Dashboard

__all__ = ["Cell", "Column", "Row", "Table", "failures_table", "studies_table", "trials_table"]

_LONGEST = 160  # characters of a cell; the whole text is shown when it is pointed at
_MAX_NUMBERS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, the number it is sorted by if it is one, and the whole text where that is longer."""

    text: str
    sort: float | None = None
    full: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, what it is, and whether it holds numbers."""

    name: str
    doc: str = ""
    number: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``id`` is the trial it is about."""

    cells: Sequence[Cell]
    id: int | None = None
    winner: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its heading."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""


def trials_table(study: Study, dashboard: Dashboard) -> Table | None:
    """Return the trials that the dashboard wants, the best first; None when there are none.

    Raises:
        ConfigError: The dashboard names a column that no trial can have.
    """
    frame = study.trials
    frame = frame[frame["state"].isin(dashboard.states)]
    if frame.empty:
        return None
    rank = {trial.number: place for place, trial in enumerate(study.ranked())}
    places = frame["number"].map(lambda trial: rank.get(int(trial), len(rank)))
    frame = frame.assign(place=places).sort_values(["place", "number"]).drop(columns="place")
    count = len(frame)
    if dashboard.limit is not None:
        frame = frame.head(dashboard.limit)
    names = _columns(dashboard.columns, list(frame.columns), frame)
    tuned = {name for name in frame.columns if name.startswith("tuned.")}
    rows = []
    for _, record in frame.iterrows():
        cells = [_param(record, name) if f"tuned.{name[7:]}" in tuned else _cell(name, record[name]) for name in names]
        trial = int(record["number"])
        rows.append(Row(cells, trial, trial == study.winner))
    docs = {} if study.space is None else study.space.docs
    columns = [
        Column(shorten(_heading(name), 40), docs.get(name[7:], _heading(name)), rows[0].cells[at].sort is not None)
        for at, name in enumerate(names)
    ]
    shown = plural(len(frame), "trial") if len(frame) == count else f"The best {len(frame):,} of {count:,} trials"
    arrow = " An arrow goes from where a hyperparameter started to where tuning ended." if tuned else ""
    return Table("All trials" if len(frame) == count else "The best trials", columns, rows, f"{shown}.{arrow}")


def failures_table(study: Study) -> Table | None:
    """Return the reasons why trials failed or were interrupted, the most frequent first; None when none did."""
    by_reason: dict[tuple[str, str], list[int]] = {}
    for trial in study.result.trials:
        if trial.state in {"failed", "interrupted"}:
            by_reason.setdefault((trial.state, trial.reason or "no reason is known"), []).append(trial.number)
    if not by_reason:
        return None
    rows = []
    for (state, reason), numbers in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        listed = ", ".join(map(str, numbers[:_MAX_NUMBERS])) + (" …" if len(numbers) > _MAX_NUMBERS else "")
        rows.append(Row([_text(reason), Cell(state), _count(len(numbers)), Cell(listed)]))
    total = sum(map(len, by_reason.values()))
    return Table(
        "Why trials failed",
        [Column("reason"), Column("state"), Column("trials", number=True), Column("numbers")],
        rows,
        f"{plural(total, 'trial')} without a value.",
    )


def studies_table(studies: Sequence[Study]) -> Table:
    """Return one row for each study: what it tried, reached and cost."""
    test = sorted(
        {
            name
            for study in studies
            if study.result.best is not None
            for name in study.result.best.metrics
            if name.startswith("test/") and name.count("_standard_error") == 0 and not name.endswith("examples")
        }
    )[:3]
    rows = []
    for study in studies:
        best, tags = study.result.best, study.result.tags
        metrics = {} if best is None else best.metrics
        rows.append(
            Row(
                [
                    _text(study.name),
                    Cell(tags.get("sampler", "")),
                    Cell(f"{study.result.direction} {shorten(study.result.metric)}"),
                    _value(None if best is None else best.value),
                    *(_value(metrics.get(name)) for name in test),
                    _count(len(study.result.trials)),
                    _count(sum(trial.cost.epochs for trial in study.result.trials)),
                    _seconds(max(study.ends.values(), default=0.0)),
                    Cell(study.state),
                ]
            )
        )
    names = ["study", "sampler", "goal", "best value", *map(shorten, test), "trials", "epochs", "wall-clock", "state"]
    columns = [Column(name, number=rows[0].cells[at].sort is not None) for at, name in enumerate(names)]
    return Table("Side by side", columns, rows)


def _columns(wanted: Sequence[str], there: Sequence[str], frame: pd.DataFrame) -> list[str]:
    chosen: list[str] = []
    for pattern in wanted:
        found = fnmatch.filter(there, pattern) if "*" in pattern else [name for name in there if name == pattern]
        kinds = ("params.", "tuned.", "metrics.")
        if not found and not pattern.startswith(kinds):
            fix = did_you_mean(pattern, [name for name in there if not name.startswith(kinds)])
            raise ConfigError("no such column", where="dashboard.tables.trials.columns", given=pattern, fix=fix)
        chosen += [name for name in found if not name.endswith(("_standard_error", "/examples"))]
    # A reason that nothing has, say, would be an empty column.
    return [name for name in dict.fromkeys(chosen) if name == "number" or _any(frame[name])]


def _any(column: pd.Series[Any]) -> bool:
    return bool((column.notna() & (column.astype(str) != "")).any())


def _heading(name: str) -> str:
    for kind in ("params.", "metrics."):
        if name.startswith(kind):
            return name.removeprefix(kind)
    return {"number": "trial", "time_start": "started", "time_end": "ended"}.get(name, name)


def _param(record: pd.Series[Any], name: str) -> Cell:
    """A self-tuned hyperparameter: from where to where; sorted by where it ended."""
    tuned = record[f"tuned.{name[7:]}"]
    cell = _cell(name, record[name])
    if not name.startswith("params.") or pd.isna(tuned):
        return cell
    return Cell(f"{cell.text} → {number(float(tuned))}", float(tuned))


def _cell(name: str, value: Any) -> Cell:
    if value is None or (not isinstance(value, str | bool) and pd.isna(value)):
        return Cell("")
    if name == "seconds":
        return _seconds(float(value))
    if isinstance(value, pd.Timestamp):
        return Cell(f"{value:%Y-%m-%d %H:%M:%S}")
    if isinstance(value, str | bool):
        return _text(value_text(value))
    return _value(float(value)) if name not in {"number", "seed", "retry_of"} else Cell(str(int(value)), float(value))


def _text(text: str) -> Cell:
    text = redact(text)
    return Cell(text) if len(text) <= _LONGEST else Cell(shorten(text, _LONGEST), full=text)


def _value(value: float | None) -> Cell:
    finite = value is not None and math.isfinite(value)
    return Cell(number(value) if value is not None else "", value if finite else None)


def _count(count: int) -> Cell:
    return Cell(f"{count:,}", float(count))


def _seconds(seconds: float) -> Cell:
    return Cell(duration(seconds), round(seconds, 3))
