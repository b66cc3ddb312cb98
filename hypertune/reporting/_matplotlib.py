"""Panels as PNG images, by matplotlib's Agg backend: no browser, no display, no global state."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from hypertune.reporting._chart import Axis, Colour, Mark, Panel, log_ticks

__all__ = ["write_png"]

_COLOURS: dict[Colour, str] = {
    "winner": "#d9480f",
    "trial": "#7c8798",
    "best": "#212732",
    "pruned": "#b9c1cd",
    "failed": "#c92a2a",
    "accent": "#1971c2",
    "muted": "#b4bbc7",
    "s0": "#1971c2",
    "s1": "#0b8a6a",
    "s2": "#7048c8",
    "s3": "#b07d00",
    "s4": "#8c5a3c",
    "s5": "#c2255c",
    "s6": "#5c677d",
    "s7": "#3b8ea5",
}
_INK, _GRID = "#3b4350", "#e9ecf1"
_STYLE: Any = {  # keys of rcParams
    "font.size": 9,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": _GRID,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "text.color": _INK,
}
_PANELS = 6  # an image is for reading without zooming


def write_png(panels: Sequence[Panel], path: Path, *, title: str) -> int:
    """Draw panels into one image.

    Args:
        panels: What to draw; beyond six they are left out.
        path: The file.
        title: Heading of the image.

    Returns:
        Number of panels left out.
    """
    shown = panels[:_PANELS]
    columns = min(3, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = max(7.2, 1.05 * len(shown[0].x.ticks or ())) if columns == 1 else 3.4 * columns
    height = max(panel.height for panel in shown) / 100 if columns == 1 else 2.4 * rows
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied")
        figure = Figure(figsize=(width, height + 0.4), dpi=130, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(shown) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid.flat, shown, strict=False):
            _draw(axes, panel)
        figure.savefig(path, metadata={"Software": "hypertune"})
    return len(panels) - len(shown)


def _draw(axes: Axes, panel: Panel) -> None:
    if panel.title:
        axes.set_title(panel.title)
    for which, axis in (("x", panel.x), ("y", panel.y)):
        _scale(axes, which, axis)
    for mark in panel.marks:
        _mark(axes, mark)


def _scale(axes: Axes, which: str, axis: Axis) -> None:
    vertical = which == "y"
    (axes.set_ylabel if vertical else axes.set_xlabel)(axis.title)
    if axis.log:
        (axes.set_yscale if vertical else axes.set_xscale)("log")
        scale = axes.yaxis if vertical else axes.xaxis
        scale.set_minor_formatter(NullFormatter())
        scale.set_major_formatter(StrMethodFormatter("{x:g}"))
    if axis.range is not None:
        low, high = axis.range
        (axes.set_ylim if vertical else axes.set_xlim)(low, high)
    ticks = log_ticks(axis) if axis.log and axis.range is not None and axis.ticks is None else axis.ticks
    if ticks:
        (axes.set_yticks if vertical else axes.set_xticks)(list(ticks), list(ticks.values()))
    if axis.ticks is not None:
        if not axis.ticks:
            (axes.set_yticks if vertical else axes.set_xticks)([])
        axes.grid(visible=False, axis="y" if vertical else "x")


def _mark(axes: Axes, mark: Mark) -> None:
    colour = _COLOURS[mark.colour]
    x, y = ([math.nan if value is None else value for value in values] for values in (mark.x, mark.y))
    if not x:
        return
    if mark.kind == "bars":
        left = list(mark.left) or [0.0] * len(x)
        widths = [end - begin for end, begin in zip(x, left, strict=True)]
        drawn = axes.barh(y, widths, 0.72, left, color=colour, edgecolor="white", linewidth=0.5 if mark.left else 0)
        if mark.labels:
            axes.bar_label(drawn, list(mark.labels), padding=3)
    elif mark.kind == "points":
        face = "none" if mark.hollow else colour
        edge = colour if mark.hollow else "white"
        axes.scatter(x, y, (mark.size * 0.75) ** 2, face, edgecolors=edge, linewidths=0.8 if mark.hollow else 0.4,
                     alpha=mark.opacity, zorder=3)  # fmt: skip
    else:
        style = "steps-post" if mark.kind == "step" else "default"
        axes.plot(
            x,
            y,
            color=colour,
            linewidth=mark.width * 0.8,
            alpha=mark.opacity,
            drawstyle=style,
            linestyle=":" if mark.dashed else "-",
        )
    ends = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if mark.label and ends:
        low, high = axes.get_xlim()
        place = (ends[-1][0] - low) / (high - low)
        near_edge = place > 0.75 and mark.kind == "points"
        offset = (-7 if near_edge else 6, -12 if mark.kind == "points" else 0)
        axes.annotate(
            mark.label,
            ends[-1],
            xytext=offset,
            textcoords="offset points",
            ha="right" if near_edge else "left",
            va="center",
            color=colour,
            fontsize=8.5,
        )
