"""The study report: an interactive page, and a short form in Markdown with images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from hypertune import __version__
from hypertune.errors import ConfigError, StorageError
from hypertune.registry import load
from hypertune.reporting._html import FigureBlock, LeftOutBlock, Part, TableBlock, WinnerBlock, page
from hypertune.reporting._markdown import ShortForm
from hypertune.reporting._matplotlib import write_png
from hypertune.reporting._study import Study, read_study
from hypertune.reporting._summary import facts, sentences, winner_rows
from hypertune.reporting._tables import Table, failures_table, studies_table, trials_table
from hypertune.reporting._text import shorten
from hypertune.reporting.dashboards import Dashboard, read_dashboard
from hypertune.reporting.figures.contract import Drawing, Figure, LeftOut
from hypertune.run_folder import RunFolder

__all__ = ["ReportFiles", "write_report"]

_MAX_RUNS = 20
_MAX_IMAGES = 4  # of the short form; the page has all figures

Block: TypeAlias = FigureBlock | WinnerBlock | TableBlock | LeftOutBlock


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What a report consists of.

    Attributes:
        html: The interactive page; one file that needs nothing else.
        markdown: The short form.
        images: The images that the short form shows, in a folder beside it.
    """

    html: Path
    markdown: Path
    images: tuple[Path, ...]


def write_report(
    runs: Sequence[RunFolder | Path | str], out: Path, *, dashboard: str | Path | None = None
) -> ReportFiles:
    """Write the report of a run, or of several side by side.

    It reads the run folders, and the Optuna storage where it can be reached; it needs neither MLflow nor torch, and the
    runs may be running, stopped or empty.

    Args:
        runs: Run folders.
        out: Folder for ``report.html``, ``report.md`` and ``images/``; made where it is missing, files of an earlier
            report are replaced.
        dashboard: What to show: a shipped dashboard's name, or a YAML file. By default ``study``, or ``comparison``
            for several runs.

    Raises:
        HypertuneError: A folder is no run, the dashboard is wrong, or ``out`` cannot be written.
    """
    if not 1 <= len(runs) <= _MAX_RUNS:
        raise ConfigError("no run" if not runs else "too many runs", where="RUN", expected=f"1 to {_MAX_RUNS} runs")
    review = read_dashboard(dashboard or ("study" if len(runs) == 1 else "comparison"))
    studies = [read_study(run) for run in runs]
    return _Report(review, studies, Path(out)).write()


class _Report:
    """One report while it is put together."""

    def __init__(self, review: Dashboard, studies: Sequence[Study], out: Path) -> None:
        self._review, self._studies, self._out = review, studies, out
        self._several = len(studies) > 1
        self._figures = 0
        self._images: list[Path] = []

    def write(self) -> ReportFiles:
        """Draw everything and write the files; the page last, so that whoever sees it sees a whole report."""
        html, markdown, images = self._out / "report.html", self._out / "report.md", self._out / "images"
        title = self._review.title or " / ".join(
            shorten(study.name, 40) if self._several else study.name for study in self._studies
        )
        kind = f"{len(self._studies)} studies side by side" if self._several else "study report"
        try:
            images.mkdir(parents=True, exist_ok=True)
            for old in images.glob("*.png"):
                old.unlink()
            short = ShortForm(title)
            parts = [self._together(short)] if self._several else []
            parts += [self._part(index, study, short) for index, study in enumerate(self._studies)]
            footer = self._footer()
            markdown.write_text(short.text(footer), encoding="utf-8")
            html.write_text(page(title, kind, parts, self._studies, footer), encoding="utf-8")
        except OSError as error:
            raise StorageError(
                f"the report cannot be written: {error.strerror or error}",
                where="out",
                given=str(self._out),
                fix="free disk space, make the folder writable, or name another one",
            ) from error
        return ReportFiles(html, markdown, tuple(self._images))

    def _together(self, short: ShortForm) -> Part:
        """What several studies have in common."""
        blocks, reasons = self._drawn(0, self._studies, short, compares=True)
        if "studies" in self._review.tables:
            table = studies_table(self._studies)
            blocks.append(TableBlock.of(table))
            short.table(table)
        return Part(blocks=[*blocks, *_left_out(reasons)])

    def _part(self, index: int, study: Study, short: ShortForm) -> Part:
        said, numbers, rows = sentences(study), facts(study), winner_rows(study)
        short.study(study.name if self._several else "", said, numbers)
        tables = self._review.tables
        blocks: list[Block] = [WinnerBlock(rows)] if rows and "winner" in tables else []
        if blocks:
            short.winner(rows)
        drawn, reasons = self._drawn(index, [study], short, compares=False)
        blocks += drawn
        for table in self._tables(study):
            blocks.append(TableBlock.of(table))
            short.table(table)
        reasons += [("data", note) for note in study.notes]
        return Part(
            study=index,
            heading=study.name if self._several else "",
            swatch=f"s{index % 8}" if self._several else "",
            sentences=said,
            won=study.result.best is not None,
            facts=numbers,
            blocks=[*blocks, *_left_out(reasons)],
        )

    def _tables(self, study: Study) -> list[Table]:
        made: dict[str, Callable[[], Table | None]] = {
            "studies": lambda: None if self._several else studies_table([study]),
            "failures": lambda: failures_table(study),
            "trials": lambda: trials_table(study, self._review),
        }
        tables = [made[name]() for name in self._review.tables if name in made]
        return [table for table in tables if table is not None]

    def _drawn(
        self, index: int, studies: Sequence[Study], short: ShortForm, *, compares: bool
    ) -> tuple[list[Block], list[tuple[str, str]]]:
        blocks: list[Block] = []
        reasons: list[tuple[str, str]] = []
        for name in self._review.figures:
            figure: Figure = load("figure", name, where="dashboard.figures")
            if figure.compares != compares and self._several:
                continue
            drawing = figure.draw(studies)
            if isinstance(drawing, LeftOut):
                reasons.append((figure.title, drawing.reason))
                continue
            drawing = _of_study(drawing, index)
            blocks.append(FigureBlock(self._figures, figure.title, drawing))
            self._figures += 1
            if len(self._images) < _MAX_IMAGES:
                prefix = f"{index + 1}-" if self._several and not compares else ""
                path = self._out / "images" / f"{prefix}{name.replace(':', '.')}.png"
                more = write_png(next(iter(drawing.views.values())), path, title=figure.title)
                short.image(figure.title, f"images/{path.name}", drawing.caption, more)
                self._images.append(path)
        return blocks, reasons

    def _footer(self) -> list[str]:
        first = self._studies[0].result
        versions = ", ".join(f"{name} {version}" for name, version in first.versions.items() if name != "hypertune")
        made = f"Made by hypertune {__version__} on {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}."
        lines = [made, "Drag to zoom into a figure, double-click to zoom out, click a point to find its trial."]
        return [*lines, f"The study ran with {versions}."] if versions and not self._several else lines


def _of_study(drawing: Drawing, index: int) -> Drawing:
    if index == 0:
        return drawing
    views = {name: [replace(panel, study=index) for panel in panels] for name, panels in drawing.views.items()}
    return replace(drawing, views=views)


def _left_out(reasons: Sequence[tuple[str, str]]) -> list[Block]:
    return [LeftOutBlock(reasons)] if reasons else []
