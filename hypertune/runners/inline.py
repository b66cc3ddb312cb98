"""``inline``: trials run one after another inside the driver; for debugging and for the smallest overhead."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from hypertune.errors import ConfigError, did_you_mean
from hypertune.records import Assignment, Report
from hypertune.runners._execute import execute
from hypertune.runners.contract import Ended, MakeObjective, OnReport
from hypertune.training.trial import Objective

__all__ = ["RUNNER", "InlineRunner"]


class InlineRunner:
    """Runs trials in the driver's own thread: no isolation, no time limit, breakpoints work."""

    def __init__(self) -> None:
        self.workers = 1
        self._objective: Objective | None = None
        self._waiting: Assignment | None = None
        self._executing = False

    @property
    def executing(self) -> bool:
        """Whether a trial runs at this moment."""
        return self._executing

    def start(self, make_objective: MakeObjective, on_report: OnReport, *, folder: str, prunes: bool) -> None:
        """Make the objective."""
        self._on_report = on_report
        self._objective = make_objective()

    def check(self) -> None:
        """Do nothing: `start` has made the objective."""

    def free(self) -> int:
        """Return 1 when no assignment waits."""
        return 0 if self._waiting is not None else 1

    def submit(self, assignment: Assignment) -> str:
        """Keep the assignment; `wait` runs it."""
        self._waiting = assignment
        return "inline"

    def wait(self, timeout: float) -> Sequence[Ended]:
        """Run the waiting assignment to its end."""
        assignment, objective = self._waiting, self._objective
        if assignment is None or objective is None:
            threading.Event().wait(timeout)
            return []

        broken: list[Exception] = []

        def send(report: Report) -> bool:
            try:
                return self._on_report(assignment.number, report)
            except Exception as error:
                broken.append(error)
                raise

        try:
            self._executing = True
            ended = execute(objective, assignment, send, worker=0)
            if broken:  # the driver's own trouble, a full disk say, is no fault of the trial
                raise broken[0]
            return [ended]
        except KeyboardInterrupt:
            return [Ended(assignment.number, "interrupted", reason="interrupted by the user")]
        finally:
            self._executing, self._waiting = False, None

    def stop_all(self) -> Sequence[Ended]:
        """End a trial that was submitted but not begun."""
        assignment, self._waiting = self._waiting, None
        return [] if assignment is None else [Ended(assignment.number, "interrupted", reason="interrupted by the user")]

    def close(self) -> None:
        """Drop the objective."""
        self._objective = None


def inline(*, timeout: float | None = None, **options: Any) -> InlineRunner:
    """Build the runner.

    Args:
        timeout: ``trial.timeout``; refused, since the driver cannot stop its own thread.
        options: None are known.

    Raises:
        ConfigError: An option is given, or a timeout is wanted.
    """
    for name, value in options.items():
        raise ConfigError("inline has no such option", where=f"runner.{name}", given=value, fix=did_you_mean(name, []))
    if timeout is not None:
        raise ConfigError(
            "the inline runner cannot stop a trial that hangs",
            where="trial.timeout",
            given=timeout,
            fix="use `runner: local`, or drop trial.timeout",
        )
    return InlineRunner()


RUNNER = inline
