"""What a runner is: it executes assignments and tells how each one ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from hypertune.records import Assignment, Cost, Report, TrialResult
from hypertune.training.trial import Objective

__all__ = ["Ended", "MakeObjective", "OnReport", "Runner"]

MakeObjective: TypeAlias = Callable[[], Objective]
"""Picklable; called once in each worker, before its first trial. Raises `HypertuneError` for a user's mistake.

A recipe that needs the user's files has ``folder``, where they are, and ``moved(folder)``, which returns the recipe
for a machine where they are elsewhere. One that reads files of the run has ``packed()``, which returns the recipe with
their contents in it.
"""

OnReport: TypeAlias = Callable[[int, Report], bool]
"""``on_report(number, report)`` -> whether the trial should be pruned; called in the driver."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial ended; ``result`` is there when it is ``finished``, ``reason`` otherwise."""

    number: int
    how: Literal["finished", "pruned", "failed", "interrupted"]
    result: TrialResult | None = None
    reason: str = ""
    traceback: str = ""
    cost: Cost = field(default_factory=Cost)


class Runner(Protocol):
    """Executes trials somewhere.

    A trial that crashes, hangs or is killed ends as ``failed``: a runner survives its workers. One that ends because
    its machine was lost is ``interrupted``, and the driver repeats it.
    """

    workers: int

    @property
    def executing(self) -> bool:
        """Whether a trial runs inside the driver's own thread at this moment."""
        ...

    def start(self, make_objective: MakeObjective, on_report: OnReport, *, folder: str, prunes: bool) -> None:
        """Get ready for trials.

        Args:
            make_objective: Makes the objective, once in each worker.
            on_report: Called for each report of a running trial.
            folder: Run folder, for the workers' logs.
            prunes: Whether ``on_report`` can ever say yes; if not, a trial need not wait for the answer.
        """
        ...

    def check(self) -> None:
        """Wait until a worker is ready.

        Raises:
            HypertuneError: ``make_objective`` raised it, or the workers do not start.
        """
        ...

    def free(self) -> int:
        """Return how many assignments can be submitted now."""
        ...

    def submit(self, assignment: Assignment) -> str:
        """Give an assignment to a free worker and return the worker's name."""
        ...

    def wait(self, timeout: float) -> Sequence[Ended]:
        """Wait until at least one trial ended, or for ``timeout`` seconds."""
        ...

    def stop_all(self) -> Sequence[Ended]:
        """Stop every running trial at once; each one ends as ``interrupted``."""
        ...

    def close(self) -> None:
        """Release workers and everything they hold; may be called twice."""
        ...
