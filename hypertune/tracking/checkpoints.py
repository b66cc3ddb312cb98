"""Deletes the checkpoints of trials that can no longer win, so that a long search does not fill the disk."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Literal, TypeAlias

from hypertune.errors import ConfigError, did_you_mean
from hypertune.records import Direction, Event, Finished, StudyOpened, TrialResult

__all__ = ["Keep", "KeepBestCheckpoint"]

Keep: TypeAlias = Literal["best", "all", "none"]
_KEEP = ("best", "all", "none")


class KeepBestCheckpoint:
    """A listener that keeps the checkpoints it is told to keep.

    Only files inside the run folder, which `StudyOpened` names, are ever deleted. State comes from events alone: give
    it a resumed study's earlier events first. Equal values: the trial with the lower number is the best. A trial that
    was pruned or failed names no checkpoint, so it has to delete its own.

    Args:
        direction: Whether a lower or a higher value is better.
        keep: ``best`` keeps the best completed trial's checkpoint, ``all`` every one, ``none`` deletes each as soon as
            its trial has ended, so that no best model can be logged.

    Raises:
        ConfigError: ``keep`` is something else.
    """

    def __init__(self, direction: Direction, keep: Keep = "best") -> None:
        if keep not in _KEEP:
            raise ConfigError(
                "no such choice of checkpoints",
                where="trial.keep_checkpoints",
                given=keep,
                fix=did_you_mean(keep, _KEEP),
            )
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._keep = keep
        self._folder: Path | None = None
        self._best: tuple[float, int] | None = None
        self._best_checkpoint: str | None = None

    @property
    def best(self) -> int | None:
        """Number of the best completed trial so far; None when there is none."""
        return None if self._best is None else self._best[1]

    def __call__(self, event: Event) -> None:
        """Learn where the run folder is, and delete what a trial's end made worthless."""
        if isinstance(event, StudyOpened):
            self._folder = Path(event.info.folder).resolve()
        elif isinstance(event, Finished):
            self._finished(event.number, event.result)

    def _finished(self, number: int, result: TrialResult) -> None:
        loser = result.checkpoint
        if not math.isnan(result.value):
            rank = (self._sign * result.value, number)
            if self._best is None or rank < self._best:
                loser, self._best_checkpoint = self._best_checkpoint, result.checkpoint
                self._best = rank
        if self._keep == "best":
            self._delete(loser)
        elif self._keep == "none":
            self._delete(result.checkpoint)

    def _delete(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._folder is None or checkpoint == self._best_kept():
            return
        path = Path(checkpoint).resolve()
        if path.is_relative_to(self._folder):
            # A file that cannot be deleted only costs space: no reason to stop a search.
            with contextlib.suppress(OSError):
                path.unlink()

    def _best_kept(self) -> str | None:
        return self._best_checkpoint if self._keep == "best" else None
