"""The trial as the code inside it sees it: its parameters, and a line back to the driver."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from hypertune.errors import TrialError
from hypertune.records import Assignment, Cost, Params, Report, TrialResult

__all__ = ["Diverged", "Objective", "Trial", "TrialPruned"]


class TrialPruned(Exception):
    """Raise inside a trial to end it early as pruned.

    Args:
        reason: Why, for the record.
        cost: What the trial cost until then; the driver fills in the seconds when there is none.
    """

    def __init__(self, reason: str = "", cost: Cost | None = None) -> None:
        super().__init__(reason)
        self.cost = cost or Cost()


class Diverged(TrialError):
    """The training loss became NaN or infinite.

    Attributes:
        cost: What the trial cost until then.
    """

    cost: Cost = Cost()


class Trial:
    """A running trial, given to the training loop or to the user's ``train(trial)``.

    Attributes:
        number: Trial number inside the study, from 0.
        params: Hyperparameter values, keyed by the names of the search space.
        seed: Seed of everything random inside the trial; already applied to ``random``, ``numpy`` and ``torch``.
        folder: Folder that belongs to this trial alone; whatever is written there stays with the run.
        worker: Index of the worker that runs it, from 0; with several GPUs, the one to use.
    """

    def __init__(self, assignment: Assignment, send: Callable[[Report], bool], *, worker: int = 0) -> None:
        self.number = assignment.number
        self.params: Params = assignment.params
        self.seed = assignment.seed
        self.folder = Path(assignment.folder)
        self.worker = worker
        self._send = send
        self._prune = False

    def report(self, step: int, metrics: Mapping[str, float], tuned: Mapping[str, float] | None = None) -> None:
        """Report metrics at a step, usually after an epoch.

        Args:
            step: Epoch or step, from 0, never decreasing.
            metrics: Metric values by name; the study's metric among them lets a pruner judge.
            tuned: Current value of each hyperparameter that is tuned inside the trial.

        Raises:
            TrialError: The step is not a whole number, or a value is not a number.
        """
        if isinstance(step, bool) or not isinstance(step, int):
            raise TrialError("step is not a whole number", where="trial.report", given=step, expected="an int from 0")
        report = Report(step, _numbers(metrics, "metrics"), _numbers(tuned or {}, "tuned"))
        self._prune = self._send(report) or self._prune

    def should_prune(self) -> bool:
        """Whether the pruner wants this trial to stop; then raise `TrialPruned`."""
        return self._prune


Objective: TypeAlias = Callable[[Trial], TrialResult | float]


def _numbers(values: Mapping[str, float], what: str) -> dict[str, float]:
    numbers = {}
    for name, value in values.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError) as error:
            raise TrialError(
                "value is not a number", where=f"trial.report.{what}.{name}", given=value, expected="a float"
            ) from error
    return numbers


def checked_result(returned: object) -> TrialResult:
    """Turn what an objective returned into a `TrialResult`.

    Raises:
        TrialError: It is not a finite number nor a `TrialResult` with one.
    """
    result = returned if isinstance(returned, TrialResult) else None
    value = returned if result is None else result.value
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        raise _not_a_value(value)
    try:
        number = float(value)  # type: ignore[arg-type]  # tensors and numpy scalars convert
    except (TypeError, ValueError, RuntimeError) as error:
        raise _not_a_value(value) from error
    if not math.isfinite(number):
        raise TrialError(
            "the objective's value is not finite",
            where="objective",
            given=number,
            expected="a finite float",
            fix="return a large finite value or raise TrialPruned for configurations that diverge",
        )
    if result is None:
        return TrialResult(number)
    return TrialResult(number, result.metrics, result.tuned, result.cost, result.checkpoint)


def _not_a_value(value: object) -> TrialError:
    return TrialError(
        "the objective returned no number",
        where="objective",
        given=value,
        expected="a finite float or a TrialResult",
        fix="end the objective with `return value`",
    )
