"""Panels as plotly traces and layouts; colours stay roles, which the page turns into those of its light or dark theme.

Plain dictionaries, as `plotly.graph_objects` would build them at a hundred times the cost; a test lets it check them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypertune.reporting._chart import Axis, Mark, Panel, log_ticks

__all__ = ["as_text", "to_plotly"]


def to_plotly(panel: Panel) -> dict[str, Any]:
    """Return ``{"data": [...], "layout": {...}}`` of a panel, strict JSON.

    Hover texts of trials are left to the page, which has one text for each trial: ``customdata`` holds the numbers.
    """
    layout = {
        "height": panel.height,
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": 58, "r": 14, "t": 10, "b": 44 if panel.x.title or panel.x.ticks else 26},
        "xaxis": _axis(panel.x),
        "yaxis": _axis(panel.y, vertical=True),
        "barmode": "overlay",
        "annotations": [note for mark in panel.marks for note in _label(mark, panel)],
    }
    return {"data": [_trace(mark, panel.y) for mark in panel.marks if len(mark.x)], "layout": layout}


def as_text(text: str) -> str:
    """Return the text so that plotly shows it as it is: it reads a little HTML, templates and TeX in its strings."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace("%{", "%&#123;").replace("$", "&#36;")
    return escaped.replace("\n", "<br>")


def _trace(mark: Mark, y_axis: Axis) -> dict[str, Any]:
    colour = f"@{mark.colour}"
    trace: dict[str, Any] = {"x": _numbers(mark.x), "y": _numbers(mark.y), "opacity": mark.opacity}
    if mark.kind == "bars":
        left = _numbers(mark.left) if mark.left else [0] * len(mark.x)
        widths = [None if r is None or b is None else _short(r - b) for r, b in zip(trace["x"], left, strict=True)]
        trace |= {"type": "bar", "orientation": "h", "x": widths, "base": left, "width": 0.72}
        trace["marker"] = {"color": colour, "line": {"color": "@paper", "width": 1 if mark.left else 0}}
        if mark.labels:
            trace |= {"text": [as_text(label) for label in mark.labels], "textposition": "outside", "cliponaxis": False}
            trace["textfont"] = {"color": "@ink"}
    elif mark.kind == "points":
        symbol = "circle-open" if mark.hollow else "circle"
        line = {"width": 1.5, "color": colour} if mark.hollow else {"width": 0.6, "color": "@paper"}
        trace |= {"type": "scatter", "mode": "markers"}
        trace["marker"] = {"color": colour, "size": mark.size, "symbol": symbol, "line": line}
    else:
        shape = "hv" if mark.kind == "step" else "linear"
        trace |= {"type": "scatter", "mode": "lines", "connectgaps": False}
        trace["line"] = {
            "color": colour,
            "width": mark.width,
            "shape": shape,
            "dash": "dot" if mark.dashed else "solid",
        }
    if any(number is not None for number in mark.trials):
        trace["customdata"] = list(mark.trials)
    if mark.texts:
        trace["hovertext"] = [as_text(text) for text in mark.texts]
    if mark.trials or mark.texts:
        trace["hovertemplate"] = "%{hovertext}<extra></extra>"
    else:
        trace["hoverinfo"] = "skip" if mark.kind != "step" or y_axis.ticks is not None else "y"
    return trace


def _axis(axis: Axis, *, vertical: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "title": {"text": as_text(axis.title), "standoff": 8},
        "zeroline": False,
        "gridcolor": "@grid",
        "linecolor": "@line",
        "showline": not vertical,
        "ticks": "" if vertical else "outside",
        "ticklen": 4,
        "tickcolor": "@line",
        "automargin": True,
        "fixedrange": False,
    }
    if axis.log:
        shown["type"] = "log"
        shown["tickformat"] = "~g"
        ticks = log_ticks(axis) if axis.range and axis.ticks is None else {}
        if ticks:
            shown |= {"tickvals": list(ticks), "ticktext": list(ticks.values()), "tickmode": "array"}
    if axis.range:
        low, high = axis.range
        shown["range"] = (
            [_short(math.log10(low)), _short(math.log10(high))] if axis.log else [_short(low), _short(high)]
        )
    if axis.ticks is not None:
        shown |= {"tickvals": list(axis.ticks), "ticktext": [as_text(label) for label in axis.ticks.values()]}
        shown |= {"tickmode": "array", "showgrid": False, "showline": False, "ticks": ""}
    else:
        shown["nticks"] = 6
    return shown


def _label(mark: Mark, panel: Panel) -> list[dict[str, Any]]:
    """The mark's label as an annotation at its last point; on a logarithmic axis its place is an exponent."""
    ends = [(x, y) for x, y in zip(mark.x, mark.y, strict=True) if x is not None and y is not None]
    if not mark.label or not ends:
        return []
    x, y = ends[-1]
    span = panel.x.range
    # Left of its point where the right edge is near.
    near_edge = span is not None and (x - span[0]) > 0.75 * (span[1] - span[0]) and mark.kind == "points"
    return [
        {
            "x": _short(math.log10(x) if panel.x.log else x),
            "y": _short(math.log10(y) if panel.y.log else y),
            "text": as_text(mark.label),
            "showarrow": False,
            "xanchor": "right" if near_edge else "left",
            "xshift": -9 if near_edge else 6,
            "yshift": 0 if mark.kind != "points" else -12,
            "font": {"color": f"@{mark.colour}", "size": 12},
            "bgcolor": "@veil",
            "borderpad": 1,
        }
    ]


def _numbers(values: Sequence[float | None]) -> list[float | int | None]:
    return [None if value is None or not math.isfinite(value) else _short(value) for value in values]


def _short(value: float) -> float | int:
    """Six significant digits are more than a screen has; whole numbers without a point."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded
