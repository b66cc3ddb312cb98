"""An objective that leaves a checkpoint of a given size."""

from __future__ import annotations

from hypertune.records import TrialResult


def train(trial):
    file = trial.folder / "best.pt"
    file.write_bytes(b"w" * trial.params["bytes"])
    return TrialResult(0.0, checkpoint=str(file))
