"""What one cell of the table records: the incumbent by what was paid for it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Point", "Trajectory"]


@dataclass(frozen=True, slots=True)
class Point:
    """The incumbent from this moment on.

    Attributes:
        epochs: Epochs paid for until then, in all trials, those of pruned and failed ones included.
        seconds: Wall-clock seconds since the search began.
        value: The incumbent's validation value, smaller is better; NaN while there is none.
        test: Its test loss; NaN while there is none.
    """

    epochs: int
    seconds: float
    value: float
    test: float


class Trajectory:
    """Collects the points of one search; the incumbent is chosen by its validation value alone.

    Args:
        budget: Epochs that may be paid for.
        clock: Seconds; starts with the trajectory.
    """

    def __init__(self, budget: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.budget = budget
        self.epochs = 0
        self.points: list[Point] = []
        self._clock = clock
        self._begun = clock()
        self._best = Point(0, 0.0, math.nan, math.nan)

    @property
    def left(self) -> int:
        """Epochs that are not spent."""
        return max(0, self.budget - self.epochs)

    def pay(self, epochs: int, value: float | None = None, test: float | None = None) -> None:
        """Count the epochs of a trial, or of a part of one, and take its result as incumbent if it is better.

        Args:
            epochs: What it cost.
            value: Its validation value; None when it has none, as pruned trials do.
            test: Test loss of the same weights.
        """
        self.epochs += epochs
        if value is None or test is None or not math.isfinite(value):
            return
        if math.isnan(self._best.value) or value < self._best.value:
            self._best = Point(self.epochs, self._clock() - self._begun, value, test)
            self.points.append(self._best)

    def finish(self) -> list[Point]:
        """Return the points, the last of them at the end of the search."""
        end = Point(self.epochs, self._clock() - self._begun, self._best.value, self._best.test)
        return [*self.points, end]
