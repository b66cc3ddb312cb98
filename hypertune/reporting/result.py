"""The outcome of a study: the winner, what it cost, what became of every trial."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypertune.records import Direction, TrialRecord
from hypertune.reporting._notebook import study_html

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StudyResult"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What a study found.

    Attributes:
        name: Study name.
        folder: Run folder.
        direction: ``minimize`` or ``maximize``.
        metric: What was optimized.
        finished: Whether the study reached its end; False when it was stopped and can be resumed.
        trials: All trials, by number.
        versions: Versions of what produced it.
        tags: The study's tags.
        hypernetwork: What the study keeps of the hypernetwork that it paid for; empty when it has none.
    """

    name: str
    folder: Path
    direction: Direction
    metric: str
    finished: bool
    trials: Sequence[TrialRecord]
    versions: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    hypernetwork: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial with the best value, the earlier one on a tie; None when none is complete."""
        complete = [
            trial
            for trial in self.trials
            if trial.state == "complete" and trial.value is not None and not math.isnan(trial.value)
        ]
        if not complete:
            return None
        sign = 1.0 if self.direction == "minimize" else -1.0
        return min(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        counts = Counter(trial.state for trial in self.trials)
        return {state: counts[state] for state in ("complete", "pruned", "failed", "interrupted", "running")}

    @property
    def all_failed(self) -> bool:
        """Whether trials ended and not one of them gave a value or a pruning decision."""
        counts = self.counts
        return counts["failed"] > 0 and counts["complete"] == 0 and counts["pruned"] == 0

    def to_frame(self) -> pd.DataFrame:
        """Return the trials as a DataFrame, one row each.

        Columns: ``number``, ``state``, ``value``, ``params.<name>``, ``tuned.<name>``, ``metrics.<name>``, cost and
        times. What a trial does not have is missing.
        """
        # A search reads results too, and never needs pandas, which takes half a second to import.
        from hypertune.reporting._frames import trials_frame

        return trials_frame(self.trials)

    def _repr_html_(self) -> str:
        """Show the study in a notebook: the winner, and the best trials."""
        return study_html(self.name, self.metric, self.direction, self.finished, self.counts, self.best, self.trials)

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json: strict JSON, no NaN."""
        best = self.best
        return {
            "format": FORMAT,
            "study": self.name,
            "finished": self.finished,
            "direction": self.direction,
            "metric": self.metric,
            "best": None if best is None else _trial(best),
            "counts": self.counts,
            "cost": {
                "epochs": sum(trial.cost.epochs for trial in self.trials),
                "gradient_steps": sum(trial.cost.gradient_steps for trial in self.trials),
                "seconds": round(sum(trial.cost.seconds for trial in self.trials), 3),
                **self._paid_before(),
            },
            **({"hypernetwork": dict(self.hypernetwork)} if self.hypernetwork else {}),
            "trials": [_trial(trial) for trial in self.trials],
            "tags": dict(self.tags),
            "versions": dict(self.versions),
        }

    def _paid_before(self) -> dict[str, float]:
        """Return what the hypernetwork cost, beside the trials; in the same units."""
        if not self.hypernetwork:
            return {}
        return {f"hypernetwork_{what}": self.hypernetwork.get(what, 0.0) for what in ("epochs", "seconds")}


def _trial(trial: TrialRecord) -> dict[str, Any]:
    content: dict[str, Any] = {
        "number": trial.number,
        "state": trial.state,
        "value": _finite(trial.value),
        "params": dict(trial.params),
        "tuned": _all_finite(trial.tuned),
        "metrics": _all_finite(trial.metrics),
        "cost": {
            "epochs": trial.cost.epochs,
            "gradient_steps": trial.cost.gradient_steps,
            "seconds": round(trial.cost.seconds, 3),
        },
        "seed": trial.seed,
    }
    optional = {"retry_of": trial.retry_of, "reason": trial.reason, "checkpoint": trial.checkpoint}
    return content | {key: value for key, value in optional.items() if value not in (None, "")}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _all_finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}
