"""A chart as plain data, which the interactive page and the images draw alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Axis", "Colour", "Mark", "Panel", "finite", "log_ticks", "robust_range", "spans_decades"]

Colour: TypeAlias = Literal[
    "winner", "trial", "best", "pruned", "failed", "accent", "muted", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"
]
"""Role of a colour; the winner has the same one in every figure. ``s0`` to ``s7`` tell studies apart."""

Kind: TypeAlias = Literal["points", "line", "step", "bars"]
Numbers: TypeAlias = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        title: What is on it, with its unit.
        log: Whether it is logarithmic.
        range: Shown range, smallest first; fitted to the data when None.
        ticks: Label by position, instead of numbers.
    """

    title: str = ""
    log: bool = False
    range: tuple[float, float] | None = None
    ticks: Mapping[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """One layer of a panel.

    Attributes:
        kind: ``points``; ``line``, ``step`` (holds its value until the next point); ``bars``, horizontal.
        x: Horizontal positions; None interrupts a line. Of bars, the right ends.
        y: Vertical positions.
        colour: Its role.
        left: Left ends of bars; 0 by default.
        trials: Trial number of each point: what is shown when it is pointed at, and where a click leads.
        texts: What is shown for each point instead; markup is text.
        label: Written at the end of a line, or beside the last point.
        labels: Written beside each bar.
        size: Diameter of points in pixels.
        width: Width of lines in pixels.
        opacity: From 0 to 1.
        hollow: Whether points are circles without filling.
        dashed: Whether a line is dashed.
    """

    kind: Kind
    x: Numbers
    y: Numbers
    colour: Colour = "trial"
    left: Sequence[float] = ()
    trials: Sequence[int | None] = ()
    texts: Sequence[str] = ()
    label: str = ""
    labels: Sequence[str] = ()
    size: float = 6.0
    width: float = 1.5
    opacity: float = 1.0
    hollow: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; figures are grids of them.

    Attributes:
        marks: Layers, the last on top.
        x: Horizontal axis.
        y: Vertical axis.
        title: Name of what the panel is about, when the figure has several.
        doc: What that is.
        height: Height in pixels.
        min_width: Width in pixels below which the panel is scrolled instead of squeezed; 0 for none.
        study: Index of the study whose trials the marks speak of.
    """

    marks: Sequence[Mark]
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    title: str = ""
    doc: str = ""
    height: int = 260
    min_width: int = 0
    study: int = 0


def finite(values: Numbers) -> list[float]:
    """Return the values that are finite numbers."""
    return [value for value in values if value is not None and math.isfinite(value)]


def spans_decades(values: Numbers, decades: float = 2.0) -> bool:
    """Return whether the values are all positive and so many powers of ten apart."""
    there = finite(values)
    return bool(there) and min(there) > 0 and max(there) / min(there) >= 10**decades


def log_ticks(axis: Axis) -> dict[float, str]:
    """Return label by position for a logarithmic axis with a range: powers of ten; on a short axis 1, 2, 5 of each."""
    assert axis.range is not None
    low, high = (math.log10(end) for end in axis.range)
    digits = (1, 2, 5) if high - low < 1.5 else (1,)
    every = max(1, math.ceil((high - low) / 6))
    ticks = {}
    for exponent in range(math.floor(low), math.ceil(high) + 1, 1 if len(digits) > 1 else every):
        for digit in digits:
            value = float(f"{digit}e{exponent}")
            if axis.range[0] <= value <= axis.range[1]:
                ticks[value] = f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    return ticks if len(ticks) > 1 else {}


def robust_range(values: Numbers, direction: str, *, log: bool = False) -> tuple[float, float] | None:
    """Return the range to show: all values, or, where a few bad ones would flatten the rest, without those.

    The good end is always inside. Values beyond five times the spread between the good end and the median are cut.

    Args:
        values: What is drawn; what is not finite is ignored.
        direction: ``minimize`` or ``maximize``.
        log: Whether the axis is logarithmic.
    """
    there = sorted(math.log10(v) if log else v for v in finite(values) if not log or v > 0)
    if not there:
        return None
    down = direction == "minimize"
    good, middle, bad = (there[0] if down else there[-1]), there[len(there) // 2], (there[-1] if down else there[0])
    reach = 5 * abs(middle - good)
    if reach > 0 and abs(bad - good) > 2 * reach:
        inside = [v for v in there if abs(v - good) <= reach]
        bad = inside[-1] if down else inside[0]
    low, high = min(good, bad), max(good, bad)
    pad = 0.06 * (high - low) or abs(high) * 0.05 or 0.5
    low, high = low - pad, high + pad
    return (10**low, 10**high) if log else (low, high)
