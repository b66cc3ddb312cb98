"""The utility of one task as a function of one hyperparameter: a step function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hypertune.errors import TaskError

__all__ = ["DualFunction"]


@dataclass(frozen=True, slots=True)
class DualFunction:
    """A step function on an interval.

    The coordinate is the caller's: for a hyperparameter on a log scale, use its logarithm or its place in [0, 1].

    Attributes:
        edges: Ends of the pieces, ``(p + 1,)``, increasing; the first and last are the range of the hyperparameter.
        values: Utility on each piece, ``(p,)``.
        exact: Whether no breakpoint was missed.
        evaluations: How often the utility was computed to find it.
    """

    edges: NDArray[np.float64]
    values: NDArray[np.float64]
    exact: bool = True
    evaluations: int = 0

    def __post_init__(self) -> None:
        edges, values = np.asarray(self.edges, dtype=np.float64), np.asarray(self.values, dtype=np.float64)
        if edges.ndim != 1 or values.shape != (len(edges) - 1,) or len(values) == 0:
            raise TaskError(
                "are not the edges and values of pieces",
                where="edges, values",
                given=(edges.shape, values.shape),
                expected="one more edge than values, at least one value",
            )
        if not (np.isfinite(edges).all() and np.isfinite(values).all() and (np.diff(edges) > 0).all()):
            raise TaskError("are not finite and increasing", where="edges", given=edges, expected="increasing edges")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "values", values)

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return the utility at ``points``, any shape; at a breakpoint, that of the piece to its right.

        Raises:
            TaskError: A point lies outside the range.
        """
        x = np.asarray(points, dtype=np.float64)
        if x.size and not (x.min() >= self.edges[0] and x.max() <= self.edges[-1]):
            raise TaskError(
                "lie outside the range",
                where="points",
                given=f"points from {x.min():.6g} to {x.max():.6g}",
                expected=f"points in [{self.edges[0]:.6g}, {self.edges[-1]:.6g}]",
            )
        return self.values[np.clip(np.searchsorted(self.edges, x, side="right") - 1, 0, len(self.values) - 1)]

    @property
    def spread(self) -> float:
        """Largest minus smallest value."""
        return float(np.ptp(self.values))
