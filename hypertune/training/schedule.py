"""The course of self-tuned hyperparameters over a trial, kept as a file and replayed in a plain training run."""

from __future__ import annotations

import bisect
import contextlib
import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hypertune.errors import StorageError, TrialError

__all__ = ["Schedule"]


class Schedule:
    """Values of hyperparameters by gradient step; each holds until the next entry.

    Args:
        names: The hyperparameters.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._steps: list[int] = []
        self._values: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def steps(self) -> tuple[int, ...]:
        """Gradient steps at which values were recorded, increasing."""
        return tuple(self._steps)

    def record(self, step: int, values: Mapping[str, float | int]) -> None:
        """Take in the values that are in effect from a gradient step on; a step recorded before is replaced.

        Args:
            step: Gradient steps made before the values came into effect, not below the last one recorded.
            values: Value of each hyperparameter.
        """
        row = tuple(float(values[name]) for name in self.names)
        if self._steps and step <= self._steps[-1]:
            self.truncate(step)
        self._steps.append(step)
        self._values.append(row)

    def entries(self) -> list[tuple[int, dict[str, float]]]:
        """Return all entries: gradient step and values."""
        return [
            (step, dict(zip(self.names, row, strict=True))) for step, row in zip(self._steps, self._values, strict=True)
        ]

    def truncate(self, step: int) -> None:
        """Forget what was recorded from a gradient step on."""
        keep = bisect.bisect_left(self._steps, step)
        del self._steps[keep:], self._values[keep:]

    def at(self, step: int) -> dict[str, float]:
        """Return the values in effect at a gradient step; before the first entry, those of the first."""
        index = max(0, bisect.bisect_right(self._steps, step) - 1)
        return dict(zip(self.names, self._values[index], strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the schedule as CSV: a column ``step``, and one for each hyperparameter.

        The file is written beside its place and moved there.

        Raises:
            TrialError: The disk is full, or the place cannot be written.
        """
        target = Path(path)
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(("step", *self.names))
                writer.writerows((step, *map(repr, row)) for step, row in zip(self._steps, self._values, strict=True))
            temporary.replace(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise TrialError(
                f"the schedule cannot be written: {error}",
                where="trial.schedule",
                given=str(target),
                fix="free disk space, or choose a writable study.folder",
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Schedule:
        """Read a schedule that `save` wrote.

        Raises:
            StorageError: The file is missing, or is no schedule.
        """
        try:
            with Path(path).open(newline="", encoding="utf-8") as file:
                header, *rows = list(csv.reader(file))
            if header[:1] != ["step"] or len(set(header)) != len(header) or len(header) < 2 or not rows:
                raise ValueError("no column `step`, a column twice, or no entries")
            schedule = cls(header[1:])
            for first, *rest in rows:
                step, values = int(first), [float(value) for value in rest]
                if not all(map(math.isfinite, values)):
                    raise ValueError(f"a value of step {step} is not finite")
                if step <= (schedule.steps[-1] if schedule else -1):
                    raise ValueError(f"step {step} comes after a later one")
                schedule.record(step, dict(zip(schedule.names, values, strict=True)))
        except (OSError, ValueError, csv.Error) as error:
            raise StorageError(
                f"not a readable schedule: {type(error).__name__}: {error}",
                where="trial.self_tuning.replay",
                given=str(path),
                expected="the schedule.csv of a self-tuned trial",
            ) from error
        return schedule
