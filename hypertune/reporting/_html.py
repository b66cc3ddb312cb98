"""The interactive page: one file with everything in it, that asks the network for nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hypertune._secrets import redact
from hypertune.reporting._plotly import as_text, to_plotly
from hypertune.reporting._study import Study
from hypertune.reporting._summary import Fact, WinnerRow
from hypertune.reporting._tables import Column, Row, Table
from hypertune.reporting._text import number, shorten, value_text
from hypertune.reporting.figures.contract import Drawing

__all__ = ["FigureBlock", "LeftOutBlock", "Part", "TableBlock", "WinnerBlock", "page"]

_FOLDER = Path(__file__).parent
_HOVER_LINES = 16


@dataclass(frozen=True, slots=True)
class FigureBlock:
    """A figure; ``index`` is its place among all figures of the page."""

    index: int
    title: str
    drawing: Drawing
    kind: Literal["figure"] = "figure"

    @property
    def views(self) -> Sequence[str]:
        """Names of its views."""
        return list(self.drawing.views)

    @property
    def caption(self) -> str:
        """How to read it."""
        return self.drawing.caption


@dataclass(frozen=True, slots=True)
class WinnerBlock:
    """The winner's hyperparameters."""

    rows: Sequence[WinnerRow]
    kind: Literal["winner"] = "winner"

    @property
    def tuned(self) -> bool:
        """Whether any of them was tuned inside the trial."""
        return any(row.tuned for row in self.rows)


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A sortable table."""

    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    kind: Literal["table"] = "table"

    @classmethod
    def of(cls, table: Table) -> TableBlock:
        """Make it of a table."""
        return cls(table.title, table.caption, table.columns, table.rows)


@dataclass(frozen=True, slots=True)
class LeftOutBlock:
    """Figures and tables that the study has nothing for: title and reason."""

    reasons: Sequence[tuple[str, str]]
    kind: Literal["left_out"] = "left_out"


@dataclass(frozen=True, slots=True)
class Part:
    """One study of the page, or what several have in common.

    Attributes:
        study: Index of the study, for links from points to rows.
        heading: Its heading; empty when the page is about it alone.
        swatch: Colour that stands for it in comparisons.
        sentences: It in words.
        won: Whether the second sentence says who won.
        facts: Numbers to read first.
        blocks: What follows.
    """

    study: int = 0
    heading: str = ""
    swatch: str = ""
    sentences: Sequence[str] = ()
    won: bool = False
    facts: Sequence[Fact] = ()
    blocks: Sequence[FigureBlock | WinnerBlock | TableBlock | LeftOutBlock] = field(default_factory=list)


def page(title: str, kind: str, parts: Sequence[Part], studies: Sequence[Study], footer: Sequence[str]) -> str:
    """Return the page as HTML text.

    Args:
        title: Heading of the page.
        kind: Line above it.
        parts: What the page shows, in order.
        studies: What its points are trials of.
        footer: Last lines.
    """
    figures = [block for part in parts for block in part.blocks if isinstance(block, FigureBlock)]
    data = {
        "figures": [
            {
                name: [
                    {
                        **to_plotly(panel),
                        "title": panel.title,
                        "doc": panel.doc,
                        "study": panel.study,
                        "min_width": panel.min_width,
                    }
                    for panel in panels
                ]
                for name, panels in figure.drawing.views.items()
            }
            for figure in sorted(figures, key=lambda figure: figure.index)
        ],
        "hovers": [_hovers(study) for study in studies],
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["shorten"] = shorten
    template = environment.from_string((_FOLDER / "_page.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        title=redact(title),
        kind=kind,
        parts=parts,
        footer=footer,
        css=Markup((_FOLDER / "_page.css").read_text(encoding="utf-8")),
        script=Markup((_FOLDER / "_page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        data=Markup(_embedded(data)),
    )


def _embedded(content: Mapping[str, Any]) -> str:
    """JSON that cannot close the script element it stands in."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hovers(study: Study) -> dict[int, str]:
    """What is shown when a trial's point is pointed at: its value and hyperparameters."""
    texts = {}
    for trial in study.result.trials:
        value = f": {shorten(study.result.metric)} {number(trial.value)}" if trial.value is not None else ""
        lines = [f"trial {trial.number}, {trial.state}{value}"]
        for name, start in trial.params.items():
            end = f" → {number(trial.tuned[name])}" if name in trial.tuned else ""
            lines.append(f"{shorten(name)} {shorten(value_text(start))}{end}")
        if len(lines) > _HOVER_LINES:
            lines = [*lines[: _HOVER_LINES - 1], f"and {len(lines) - _HOVER_LINES + 1} more"]
        if trial.reason:
            lines.append(shorten(trial.reason, 80))
        texts[trial.number] = "<br>".join(map(as_text, lines))
    return texts
