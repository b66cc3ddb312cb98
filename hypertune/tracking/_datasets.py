"""Logs what data a study uses as MLflow datasets of its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.dataset import Dataset
from mlflow.entities import DatasetInput, InputTag
from mlflow.tracking import MlflowClient

from hypertune._secrets import redact
from hypertune.tracking.contract import DataSplit

__all__ = ["log_datasets"]

_CONTEXT = "mlflow.data.context"
_NAME_LENGTH = 500


class _SplitDataset(Dataset):
    """A split as MLflow describes datasets; the data itself stays where it is."""

    def __init__(self, split: DataSplit) -> None:
        self._split = split
        source = CodeDatasetSource({"hypertune.task": redact(split.task), "split": split.context})
        super().__init__(source, redact(f"{split.task} {split.context}")[:_NAME_LENGTH], split.digest)

    def _compute_digest(self) -> str:
        return self._split.digest

    @property
    def schema(self) -> None:
        """None: an MLflow schema describes columns, and inputs here are tensors; `profile` has their shape."""
        return

    @property
    def profile(self) -> dict[str, Any]:
        """Size and shape, under the names that MLflow's own datasets use."""
        split = self._split
        content = {
            "num_rows": split.rows,
            "input_shape": list(split.input_shape) or None,
            "outputs": split.targets,
            "kind": split.kind or None,
        }
        return {name: value for name, value in content.items() if value is not None}

    def to_dict(self) -> dict[str, str]:
        """Return the dataset as MLflow stores it."""
        return {**super().to_dict(), "profile": json.dumps(self.profile)}


def log_datasets(client: MlflowClient, run_id: str, splits: Sequence[DataSplit]) -> None:
    """Log the splits as inputs of a run; a second time changes nothing.

    Raises:
        Exception: Whatever MLflow raises.
    """
    inputs = [
        DatasetInput(_SplitDataset(split)._to_mlflow_entity(), [InputTag(_CONTEXT, split.context)]) for split in splits
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)
