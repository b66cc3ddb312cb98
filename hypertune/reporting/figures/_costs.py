"""What had been spent when each trial ended: epochs, wall-clock time, trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypertune.reporting._study import Study

__all__ = ["CostView", "cost_views"]

_UNITS = (("days", 172800.0, 86400.0), ("hours", 7200.0, 3600.0), ("minutes", 120.0, 60.0), ("seconds", 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class CostView:
    """One way to count cost.

    Attributes:
        name: Name of the view.
        title: Title of the axis, with the unit.
        spent: For each study, what had been spent when a trial ended, by trial number.
    """

    name: str
    title: str
    spent: Sequence[dict[int, float]]


def cost_views(studies: Sequence[Study]) -> list[CostView]:
    """Return the ways to count that mean something for these studies: epochs only where trials count them."""
    epochs = [_cumulative(study, "epochs") for study in studies]
    longest = max((max(study.ends.values(), default=0.0) for study in studies), default=0.0)
    unit, _, size = next(entry for entry in _UNITS if longest >= entry[1])
    clock = [{number: end / size for number, end in study.ends.items()} for study in studies]
    views = [
        CostView("epochs", "epochs of all trials by then", epochs),
        CostView("wall-clock", f"wall-clock {unit}", clock),
        CostView("trials", "trials ended by then", [_cumulative(study, "trials") for study in studies]),
    ]
    return [view for view in views if any(max(spent.values(), default=0.0) > 0 for spent in view.spent)]


def _cumulative(study: Study, what: str) -> dict[int, float]:
    cost = {trial.number: trial.cost.epochs for trial in study.result.trials}
    spent, total = {}, float(study.hypernetwork.get("epochs") or 0.0) if what == "epochs" else 0.0
    for number in sorted(study.ends, key=lambda n: study.ends[n]):
        total += cost.get(number, 0) if what == "epochs" else 1
        spent[number] = total
    return spent if what == "trials" or total > 0 else {}
