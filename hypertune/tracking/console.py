"""Live progress: a table on a terminal, one line per finished trial anywhere else."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console as RichConsole
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hypertune._secrets import redact
from hypertune.records import (
    Event,
    Failed,
    Finished,
    Params,
    ParamValue,
    Pruned,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
)

__all__ = ["Console"]

_REFRESH = 4  # redraws in a second
_STATUS_SECONDS = 1.0  # how often the status is asked
_MAX_PARAMS = 4
_MAX_ROWS = 16


@dataclass(slots=True)
class _Running:
    worker: str
    params: Params
    step: int | None = None
    metric: float | None = None


class Console:
    """A listener and a context manager that shows how the search goes.

    Events of a resumed study's earlier sessions may be given first: they count, but not for the time left.

    Args:
        info: The study.
        n_trials: Number of trials the study is to have; None when it is open-ended.
        workers: Number of trials that run at once.
        stream: Where to write; standard error by default.
        status: Called at most once a second; what it returns, when not empty, is shown as a warning.
        clock: Gives Unix seconds.
    """

    def __init__(
        self,
        info: StudyInfo,
        n_trials: int | None,
        workers: int,
        stream: TextIO | None = None,
        status: Callable[[], str] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._info, self._n_trials, self._workers = info, n_trials, workers
        self._status, self._clock = status, clock
        self._stream = sys.stderr if stream is None else stream
        self._rich = RichConsole(file=self._stream, highlight=False)
        self._live: Live | None = None
        self._lock = threading.Lock()  # the table is drawn by a thread of its own
        self._running: dict[int, _Running] = {}
        self._counts = {"complete": 0, "pruned": 0, "failed": 0}
        self._best: tuple[float, int] | None = None
        self._best_rank = math.inf
        self._begun = clock()
        self._ended_here = 0  # since the driver began or resumed
        self._notes: list[str] = []
        self._asked, self._warning = -math.inf, ""

    def __enter__(self) -> Console:
        if self._rich.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=self._rich, refresh_per_second=_REFRESH, transient=False
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def __call__(self, event: Event) -> None:
        """Take the event into account; off a terminal, print a line when a trial ends."""
        with self._lock:
            line = self._take(event)
        if self._live is None and not self._rich.is_terminal:
            self._warn_if_new()
            if line:
                self._print(line)

    def note(self, text: str) -> None:
        """Show a message below the table, or as a line of its own."""
        with self._lock:
            self._notes.append(text)
        if self._live is None:
            self._print(text)

    def _take(self, event: Event) -> str:
        if isinstance(event, StudyOpened):
            self._begun, self._ended_here = event.time, 0
            self._running.clear()
        elif isinstance(event, StudyClosed):
            self._running.clear()
        elif isinstance(event, Started):
            self._running[event.number] = _Running(event.worker, event.params)
        elif isinstance(event, Reported):
            running = self._running.setdefault(event.number, _Running("", {}))
            running.step = event.report.step
            running.metric = event.report.metrics.get(self._info.metric, running.metric)
        else:
            return self._ended(event)
        return ""

    def _ended(self, event: Finished | Pruned | Failed) -> str:
        running = self._running.pop(event.number, None)
        if isinstance(event, Finished):
            state, detail = "complete", f"{self._info.metric} {_number(event.result.value)}"
            self._improve(event.number, event.result.value)
        elif isinstance(event, Pruned):
            metric = None if running is None else running.metric
            state, detail = "pruned", "" if metric is None else f"{self._info.metric} {_number(metric)}"
        else:
            state, detail = "interrupted" if event.interrupted else "failed", _first_line(event.reason)
        if state in self._counts:
            self._counts[state] += 1
            self._ended_here += 1
        parts = [f"trial {event.number}", state, detail, self._best_text(), self._count_text(), self._left_text()]
        return "  ".join(part for part in parts if part)

    def _improve(self, number: int, value: float) -> None:
        rank = value if self._info.direction == "minimize" else -value
        if rank < self._best_rank:
            self._best, self._best_rank = (value, number), rank

    def _best_text(self) -> str:
        return "" if self._best is None else f"best {_number(self._best[0])} (trial {self._best[1]})"

    def _count_text(self) -> str:
        ended = sum(self._counts.values())
        return str(ended) if self._n_trials is None else f"{ended}/{self._n_trials}"

    def _left_text(self) -> str:
        if self._n_trials is None or not self._ended_here:
            return ""
        left = max(0, self._n_trials - sum(self._counts.values()))
        return f"left {_duration(left * (self._clock() - self._begun) / self._ended_here)}"

    def _table(self) -> RenderableType:
        with self._lock:
            counts = ", ".join(f"{count} {state}" for state, count in self._counts.items() if count) or "no trial yet"
            spent = f"elapsed {_duration(self._clock() - self._begun)}"
            head = [self._info.name, self._count_text(), counts, self._best_text(), spent, self._left_text()]
            rows = sorted(self._running.items())
            notes = self._notes[-3:]
            metric = self._info.metric
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "worker", "step", metric, "params"):
            table.add_column(Text(name), justify="left" if name in ("worker", "params") else "right", no_wrap=True)
        for number, running in rows[:_MAX_ROWS]:
            table.add_row(
                str(number),
                Text(running.worker),
                "" if running.step is None else str(running.step),
                "" if running.metric is None else _number(running.metric),
                Text(redact(_params(running.params)), overflow="ellipsis"),
            )
        parts: list[RenderableType] = [Text("  ".join(part for part in head if part), style="bold"), table]
        if len(rows) > _MAX_ROWS:
            parts.append(Text(f"and {len(rows) - _MAX_ROWS} more of {self._workers} workers"))
        warning = self._ask_status()
        if warning:
            parts.append(Text(redact(warning), style="yellow"))
        parts += [Text(redact(note), style="cyan") for note in notes]
        return Group(*parts)

    def _ask_status(self) -> str:
        now = time.monotonic()
        if self._status is not None and now - self._asked >= _STATUS_SECONDS:
            self._asked, self._warning = now, self._status()
        return self._warning

    def _warn_if_new(self) -> None:
        before = self._warning
        warning = self._ask_status()
        if warning and not before:
            self._print(warning)

    def _print(self, line: str) -> None:
        # `Text` keeps square brackets in names and reasons from being read as markup.
        self._rich.print(Text(redact(line)), soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _params(params: Mapping[str, ParamValue]) -> str:
    shown = [f"{name}={_short(value)}" for name, value in list(params.items())[:_MAX_PARAMS]]
    return " ".join(shown) + (" …" if len(params) > _MAX_PARAMS else "")


def _short(value: ParamValue) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 16 else text[:15] + "…"


def _first_line(text: str) -> str:
    stripped = text.strip()
    return stripped.splitlines()[0] if stripped else ""
