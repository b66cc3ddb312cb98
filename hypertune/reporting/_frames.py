"""Trials and their reports as pandas DataFrames, nested names flattened with dots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from hypertune.records import Reported, TrialRecord

__all__ = ["reports_frame", "trials_frame"]

_FIXED = (
    "number",
    "state",
    "value",
    "epochs",
    "gradient_steps",
    "seconds",
    "seed",
    "retry_of",
    "reason",
    "checkpoint",
    "time_start",
    "time_end",
)


def trials_frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row for each trial.

    Columns: ``number``, ``state``, ``value``, then ``params.<name>`` (where the trial started), ``tuned.<name>`` (where
    in-trial tuning ended), ``metrics.<name>``, then cost (``epochs``, ``gradient_steps``, ``seconds``), ``seed``,
    ``retry_of``, ``reason``, ``checkpoint``, ``time_start``, ``time_end`` (UTC). What a trial does not have is missing.
    """
    rows = [
        {
            "number": trial.number,
            "state": trial.state,
            "value": trial.value,
            **{f"params.{name}": value for name, value in trial.params.items()},
            **{f"tuned.{name}": value for name, value in trial.tuned.items()},
            **{f"metrics.{name}": value for name, value in trial.metrics.items()},
            "epochs": trial.cost.epochs,
            "gradient_steps": trial.cost.gradient_steps,
            "seconds": trial.cost.seconds,
            "seed": trial.seed,
            "retry_of": trial.retry_of,
            "reason": trial.reason,
            "checkpoint": trial.checkpoint,
            "time_start": trial.time_start,
            "time_end": trial.time_end,
        }
        for trial in trials
    ]
    frame = pd.DataFrame(rows, columns=_columns(rows))
    for name in ("value", "seconds"):
        frame[name] = frame[name].astype("float64")
    for name in ("number", "epochs", "gradient_steps", "seed", "retry_of"):
        frame[name] = frame[name].astype("Int64")
    for name in ("time_start", "time_end"):
        frame[name] = pd.to_datetime(frame[name].astype("float64"), unit="s", utc=True)
    return frame


def reports_frame(reports: Iterable[Reported]) -> pd.DataFrame:
    """Return one row for each report: ``trial``, ``step``, ``time`` (Unix seconds), ``metrics.<name>``,
    ``tuned.<name>``; the last one where a step was reported twice.
    """
    rows = [
        {
            "trial": event.number,
            "step": event.report.step,
            "time": event.time,
            **{f"metrics.{name}": value for name, value in event.report.metrics.items()},
            **{f"tuned.{name}": value for name, value in event.report.tuned.items()},
        }
        for event in reports
    ]
    frame = pd.DataFrame(rows, columns=None if rows else ["trial", "step", "time"])
    return frame.drop_duplicates(["trial", "step"], keep="last").sort_values(["trial", "step"], ignore_index=True)


def _columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Fixed columns at the ends; params, tuned and metrics between them, each kind together."""
    seen = dict.fromkeys(name for row in rows for name in row)
    nested = [name for kind in ("params.", "tuned.", "metrics.") for name in seen if name.startswith(kind)]
    return [*_FIXED[:3], *nested, *_FIXED[3:]]
