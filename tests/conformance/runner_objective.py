"""One trial of each kind, by its number; nothing heavy is imported."""

from __future__ import annotations

from hypertune.records import Cost, TrialResult
from hypertune.training.trial import TrialPruned


def train(trial):
    print("trial", trial.number)
    x, begun = trial.params["x"], 100.0 if trial.number == 4 else 0.0
    for step in range(3):
        trial.report(step, {"value": x + begun + step, "train/loss": 0.5 * step}, {"x": x + 0.1 * step})
        if trial.should_prune():
            raise TrialPruned(f"pruned at {step}", Cost(epochs=step + 1, seconds=1.0))
    if trial.number == 2:
        raise ValueError("the third trial fails")
    if trial.number == 3:
        return float("nan")
    checkpoint = trial.folder / "best.pt"
    checkpoint.write_bytes(b"weights")
    return TrialResult(x, {"test/loss": x + 1}, {"x": x + 0.2}, Cost(3, 30, 1.5), str(checkpoint))
