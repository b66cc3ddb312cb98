"""Recipes for what a study's MLflow run gets beside its numbers: picklable, called in the publisher's process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypertune.objectives import FamilyObjective
from hypertune.tracking.contract import DataSplit

__all__ = ["StudyReport", "TaskData"]

_HASHED_ROWS = 4096


@dataclass(frozen=True, slots=True)
class StudyReport:
    """Recipe for the study's report, in the folder ``report`` of the run.

    Attributes:
        folder: Run folder.
    """

    folder: Path

    def __call__(self) -> Path:
        """Write the report; return its folder.

        Raises:
            Exception: Whatever the report raises.
        """
        # Imported where it is called: the driver needs no figures.
        from hypertune.reporting.report import write_report

        out = self.folder / "report"
        write_report([self.folder], out)
        return out


@dataclass(frozen=True, slots=True)
class TaskData:
    """Recipe for what is known of the data that a family is trained on.

    Attributes:
        objective: The family's objective.
    """

    objective: FamilyObjective

    def __call__(self) -> list[DataSplit]:
        """Load the task and describe its splits.

        Raises:
            HypertuneError: The task does not load.
        """
        _, task, _ = self.objective.load()
        splits = {"train": task.train, "validation": task.val, "tuning": task.tune, "test": task.test}
        return [
            DataSplit(
                task=task.spec.name,
                context=context,
                rows=_rows(split),
                digest=_digest(split, f"{task.spec.name} {context}"),
                input_shape=task.spec.input_shape,
                targets=task.spec.output_size,
                kind=task.spec.kind,
            )
            for context, split in splits.items()
            if split is not None
        ]


def _rows(split: Any) -> int | None:
    data = getattr(split, "dataset", split)  # a loader's length counts batches
    try:
        return len(data)
    except TypeError:
        return None


def _digest(split: Any, name: str) -> str:
    """Return a hash of a split in memory, over at most 4096 rows spread over it; of another, of what it is called."""
    from hypertune.tasks.contract import TensorSplit

    rows = _rows(split)
    content = hashlib.sha256(f"{name} {type(split).__name__} {rows}".encode())
    if isinstance(split, TensorSplit) and rows:
        content = hashlib.sha256()
        every = -(-rows // _HASHED_ROWS)
        for tensor in (split.x, split.y):
            content.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            content.update(tensor[::every].detach().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:12]
