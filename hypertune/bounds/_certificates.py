"""What certificates about the mean of one candidate share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypertune.bounds.utilities import INDEPENDENT
from hypertune.records import Certificate

__all__ = ["certificate_of_mean"]

_UNSEEN = "the candidate was chosen without looking at these tasks"


def certificate_of_mean(
    kind: str,
    values: NDArray[np.float64],
    lower: float,
    *,
    delta: float,
    candidates: int,
    source: str,
    anytime: bool = False,
) -> Certificate:
    """Make the certificate of a lower bound on the mean of ``values``, ``(tasks,)`` in [0, 1].

    Args:
        kind: Name of the inequality.
        values: Utilities of the chosen candidate.
        lower: The bound before it is cut to [0, 1].
        delta: Probability of error.
        candidates: Candidates that were fixed beforehand.
        source: Paper and equation.
        anytime: Whether the bound survives optional stopping.
    """
    mean = float(np.mean(values))
    chosen = _UNSEEN if candidates == 1 else f"the {candidates} candidates were fixed before the first of these tasks"
    stopped = () if anytime else ("the number of tasks was fixed beforehand",)
    return Certificate(
        kind=kind,
        target="expected utility of the chosen candidate on a new task",
        value=max(float(lower), 0.0),
        estimate=mean,
        margin=mean - float(lower),
        delta=delta,
        n=len(values),
        candidates=candidates,
        vacuous=bool(lower <= 0),
        anytime=anytime,
        assumptions=(INDEPENDENT, "utilities were scaled to [0, 1] by limits fixed beforehand", chosen, *stopped),
        source=source,
    )
