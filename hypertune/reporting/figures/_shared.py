"""What several figures need: a hyperparameter's axis, the axis of values, the lines of many trials in one layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypertune.records import ParamValue, TrialRecord
from hypertune.reporting._chart import Axis, Mark, robust_range, spans_decades
from hypertune.reporting._study import Study
from hypertune.reporting._text import number, shorten, value_text

__all__ = ["HyperparameterAxis", "beyond", "evenly", "joined", "metric_axis", "spread", "varying_axes", "winner_mark"]

_MAX_TICKS = 12


@dataclass(frozen=True, slots=True)
class HyperparameterAxis:
    """Where values of one hyperparameter lie: by number, or by place among its choices.

    Attributes:
        name: The hyperparameter.
        choices: Its choices; empty for a numeric one.
        low: Lowest value, or -0.5 before the first choice.
        high: Highest value, or 0.5 behind the last choice.
        log: Whether its range is logarithmic.
        doc: One line on what it is.
        unit: Unit of its values.
    """

    name: str
    choices: tuple[ParamValue, ...]
    low: float
    high: float
    log: bool = False
    doc: str = ""
    unit: str = ""

    @classmethod
    def of(cls, study: Study, name: str) -> HyperparameterAxis:
        """Read it from the space, or, where that does not have it, from the values of the trials."""
        space = study.space
        entry = {} if space is None else space.to_mapping().get(name, {})
        doc, unit = str(entry.get("doc", "")), str(entry.get("unit", ""))
        if entry.get("type") in {"float", "int"}:
            return cls(name, (), float(entry["low"]), float(entry["high"]), bool(entry.get("log")), doc, unit)
        choices = entry.get("choices")
        if choices is None:
            values = [trial.params[name] for trial in study.result.trials if name in trial.params]
            if values and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                numbers = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)] or [0.0, 1.0]
                return cls(name, (), min(numbers), max(numbers), spans_decades(numbers, 2.5))
            choices = sorted({repr(v): v for v in values}.values(), key=repr)
        return cls(name, tuple(choices), -0.5, max(len(choices), 1) - 0.5, doc=doc, unit=unit)

    @property
    def constant(self) -> bool:
        """Whether there is only one value."""
        return len(self.choices) == 1 if self.choices else self.low == self.high

    def place(self, value: ParamValue) -> float | None:
        """Return where a value lies; None when it is no value of this hyperparameter."""
        if self.choices:
            for index, choice in enumerate(self.choices):
                # To Python True is 1.
                if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                    return float(index)
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return None if self.log and value <= 0 else float(value)

    def share(self, value: ParamValue) -> float | None:
        """Return where a value lies between the ends of the range: 0 to 1, by logarithm where the range is."""
        place = self.place(value)
        if place is None:
            return None
        low, high = (math.log(v) if self.log else v for v in (self.low, self.high))
        place = math.log(place) if self.log else place
        return 0.5 if high <= low else min(max((place - low) / (high - low), 0.0), 1.0)

    def axis(self, title: str = "") -> Axis:
        """Return the axis over its whole range."""
        ticks = None
        if self.choices:
            every = math.ceil(len(self.choices) / _MAX_TICKS)
            ticks = {float(i): shorten(value_text(c), 16) for i, c in enumerate(self.choices) if i % every == 0}
        low, high = self.low, self.high
        if not self.choices:
            # A little air, so that points at the ends of the range are whole.
            if self.log:
                pad = (high / low) ** 0.04 if high > low else 2.0
                low, high = low / pad, high * pad
            else:
                pad = 0.04 * (high - low) or abs(high) * 0.1 or 0.5
                low, high = low - pad, high + pad
        return Axis(title, self.log, (low, high), ticks)

    @property
    def title(self) -> str:
        """Its name with its unit."""
        name = shorten(self.name)
        return f"{name} ({shorten(self.unit)})" if self.unit else name


def varying_axes(study: Study) -> list[HyperparameterAxis]:
    """Return the axes of the hyperparameters that have a range, and that some measured trial has."""
    axes = [HyperparameterAxis.of(study, name) for name in study.names]
    there = {name for trial in study.measured for name in trial.params}
    return [axis for axis in axes if not axis.constant and axis.name in there]


def metric_axis(study: Study, values: Sequence[float | None], title: str | None = None) -> Axis:
    """Return the axis of the study's metric for some values: logarithmic where they span decades, outliers cut."""
    log = spans_decades(values)
    title = shorten(study.result.metric) if title is None else title
    return Axis(title, log, robust_range(values, study.result.direction, log=log))


def beyond(axis: Axis, values: Sequence[float | None]) -> int:
    """Return how many values the axis does not show."""
    if axis.range is None:
        return 0
    low, high = axis.range
    return sum(value is not None and not low <= value <= high for value in values)


def evenly(trials: Sequence[TrialRecord], limit: int) -> Sequence[TrialRecord]:
    """Return at most so many of them, evenly from the first to the last, both included."""
    if len(trials) <= limit:
        return trials
    return [trials[round(place * (len(trials) - 1) / (limit - 1))] for place in range(limit)]


def joined(lines: Iterable[tuple[int, Sequence[float], Sequence[float]]], **style: Any) -> Mark:
    """Return many lines as one layer: ``(trial, x, y)`` each, with gaps between them."""
    x: list[float | None] = []
    y: list[float | None] = []
    trials: list[int | None] = []
    for trial, xs, ys in lines:
        x += [*xs, None]
        y += [value if math.isfinite(value) else None for value in ys] + [None]
        trials += [trial] * len(xs) + [None]
    return Mark("line", x, y, trials=trials, **style)


def winner_mark(study: Study, x: float | None, y: float | None, *, label: bool = True) -> list[Mark]:
    """Return the winner's point, on top of all others; nothing when it has no place."""
    best = study.result.best
    if best is None or x is None or y is None:
        return []
    text = f"trial {best.number}: {number(best.value)}" if label else ""
    return [Mark("points", [x], [y], "winner", trials=[best.number], size=11, label=text)]


def spread(trial: TrialRecord, axis: HyperparameterAxis, value: ParamValue) -> float | None:
    """Return where a trial's value is drawn: beside its choice by a little, always the same, so that points part."""
    place = axis.place(value)
    if place is None or not axis.choices:
        return place
    return place + ((trial.number * 0.6180339887) % 1 - 0.5) * 0.45
