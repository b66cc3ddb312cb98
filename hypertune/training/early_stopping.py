"""Which epoch is the best so far, and whether to wait for a better one."""

from __future__ import annotations

import math

from hypertune.records import Direction

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Follows the study metric over the epochs.

    Args:
        direction: Whether the metric is minimized or maximized.
        patience: Epochs without a better value after which to stop, at least 1; None: never.

    Attributes:
        best_epoch: First epoch with the best value so far; None before there is one.
        best_value: That value.
    """

    def __init__(self, direction: Direction, patience: int | None = None) -> None:
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._patience = patience
        self._waited = 0
        self.best_epoch: int | None = None
        self.best_value = self._sign * math.inf

    def update(self, epoch: int, value: float) -> bool:
        """Take in an epoch's value and return whether it is the best so far; a value that is not finite never is."""
        better = math.isfinite(value) and self._sign * value < self._sign * self.best_value
        if better:
            self.best_epoch, self.best_value, self._waited = epoch, value, 0
        else:
            self._waited += 1
        return better

    @property
    def should_stop(self) -> bool:
        """Whether ``patience`` epochs in a row were no better than the best."""
        return self._patience is not None and self._waited >= self._patience
