"""The short form of a report: Markdown text with images, for where no page can be opened."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypertune.reporting._summary import Fact, WinnerRow
from hypertune.reporting._tables import Table
from hypertune.reporting._text import shorten

__all__ = ["ShortForm", "markdown_text"]

_ROWS = 10
_COLUMNS = 8
_SPECIAL = re.compile(r"([\\`*_\[\]|~$]|^[#+=-])")


def markdown_text(text: str) -> str:
    """Return the text on one line, so that Markdown and the HTML inside it show it as it is."""
    line = " ".join(text.split())
    escaped = _SPECIAL.sub(r"\\\1", line)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class ShortForm:
    """Markdown text in the making.

    Args:
        title: Its heading.
    """

    def __init__(self, title: str) -> None:
        self._lines = [f"# {markdown_text(title)}", ""]

    def study(self, heading: str, sentences: Sequence[str], facts: Sequence[Fact]) -> None:
        """Begin a study: in words, then in numbers."""
        if heading:
            self._lines += [f"## {markdown_text(heading)}", ""]
        self._lines += [markdown_text(" ".join(sentences)), ""]
        self._lines += [
            f"- {markdown_text(fact.label)}: **{markdown_text(fact.value)}**"
            + (f" ({markdown_text(fact.note)})" if fact.note else "")
            for fact in facts
        ]
        self._lines.append("")

    def winner(self, rows: Sequence[WinnerRow]) -> None:
        """Add the winner's hyperparameters."""
        self._lines += ["### The winner's hyperparameters", ""]
        lines = []
        for row in rows:
            value = f"{row.start} → {row.tuned}" if row.tuned else row.start
            end = f"at the {row.edge} end" if row.edge else ""
            lines.append([row.name, shorten(value, 60), f"{row.range} {row.unit}".strip(), end])
        self._rows(["hyperparameter", "value", "range", ""], lines)

    def image(self, title: str, path: str, caption: str, more: int) -> None:
        """Add an image; ``more`` panels are in the page only."""
        further = f" {more} further panels are in report.html." if more else ""
        self._lines += [f"### {markdown_text(title)}", "", f"![{markdown_text(title)}]({path})", ""]
        self._lines += [markdown_text(caption + further), ""]

    def table(self, table: Table) -> None:
        """Add the first rows and columns of a table."""
        self._lines += [f"### {markdown_text(table.title)}", ""]
        rows = [[cell.text for cell in row.cells[:_COLUMNS]] for row in table.rows[:_ROWS]]
        self._rows([column.name for column in table.columns[:_COLUMNS]], rows)
        if len(table.rows) > _ROWS:
            self._lines += [f"{len(table.rows) - _ROWS:,} further rows are in report.html.", ""]

    def text(self, footer: Sequence[str]) -> str:
        """Return the whole text."""
        return "\n".join([*self._lines, "---", "", markdown_text(footer[0]), ""])

    def _rows(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._lines += [_row(heads), _row(["---"] * len(heads), plain=True), *map(_row, rows), ""]


def _row(cells: Sequence[str], *, plain: bool = False) -> str:
    return f"| {' | '.join(cell if plain else markdown_text(shorten(cell, 80)) if cell else '' for cell in cells)} |"
