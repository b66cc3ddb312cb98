"""How numbers, durations and long names are written in a report."""

from __future__ import annotations

import math

from hypertune._secrets import redact
from hypertune.records import ParamValue

__all__ = ["duration", "number", "plural", "shorten", "value_text"]


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many significant digits; a dash for None."""
    if value is None:
        return "–"  # noqa: RUF001 - the typographic dash of an empty table cell
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def value_text(value: ParamValue) -> str:
    """Return a hyperparameter's value as a person writes it, without credentials."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return number(float(value))


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``3 min 20 s``, ``5 h 12 min`` or ``2 d 3 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def plural(count: int, what: str) -> str:
    """Return ``1 trial`` or ``1,200 trials``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def shorten(text: str, limit: int = 32) -> str:
    """Return the text on one line, its middle cut out where it is longer than ``limit`` characters."""
    line = " ".join(text.split()) or "(blank)"
    if len(line) <= limit:
        return line
    tail = limit // 3
    return f"{line[: limit - tail - 1]}…{line[-tail:]}"
