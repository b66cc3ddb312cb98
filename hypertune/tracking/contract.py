"""What tracking asks of its callers beyond a stream of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

__all__ = ["Attachments", "DataSplit", "DescribeData", "LoadModel", "WriteReport"]


@dataclass(frozen=True, slots=True)
class DataSplit:
    """What is known of one split of a task's data.

    Attributes:
        task: Name of the task.
        context: ``train``, ``validation`` or ``test``.
        rows: Number of examples; None when the split does not know.
        digest: Hash of its content, at most 36 characters.
        input_shape: Shape of one example.
        targets: Number of classes, or of regression targets.
        kind: ``classification`` or ``regression``.
    """

    task: str
    context: str
    rows: int | None
    digest: str
    input_shape: tuple[int, ...] = ()
    targets: int | None = None
    kind: str = ""


LoadModel: TypeAlias = Callable[[int], tuple[Any, Any] | None]
"""``load_model(trial_number)`` -> the trained ``torch.nn.Module`` and a NumPy array of example inputs (or None), or
None when the trial has no model to log."""
DescribeData: TypeAlias = Callable[[], Sequence[DataSplit]]
"""``describe_data()`` -> the splits that the study's trials use."""
WriteReport: TypeAlias = Callable[[], Path | None]
"""``write_report()`` -> a folder of files to attach to the study's run, or None."""


@dataclass(frozen=True, slots=True)
class Attachments:
    """What a study's run gets beside its numbers when the study is closed.

    The callables are picklable and run in the publisher's process; one that raises leaves a tag with the reason.

    Attributes:
        load_model: Gives the best trial's model; None to log no model.
        code_paths: Files and folders that are logged with the model and put on the import path when it is loaded.
        register: Registered model that the best model becomes a version of; None to register nothing.
        describe_data: Tells what data the trials use; None to log no dataset.
        write_report: Makes the study's report; None for none.
        system_metrics: Whether to sample CPU, memory, disk and GPU of this machine while the study runs.
    """

    load_model: LoadModel | None = None
    code_paths: tuple[str, ...] = ()
    register: str | None = None
    describe_data: DescribeData | None = None
    write_report: WriteReport | None = None
    system_metrics: bool = False
