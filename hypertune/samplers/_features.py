"""Points of the unit cube as a distance should see them: unordered choices are equally far from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["features"]

# Two choices are then as far apart as two numbers at half of their range.
_APART = 0.5 / np.sqrt(2.0)


def features(x: NDArray[np.float64], choices: Sequence[int]) -> NDArray[np.float64]:
    """Return points with each axis of unordered choices replaced by one scaled indicator for each choice.

    Args:
        x: Points, ``(n, d)`` in [0, 1].
        choices: For each axis the number of unordered choices, whose cells divide [0, 1]; 0 for an ordered axis.

    Returns:
        ``(n, k)``, k being the number of ordered axes plus the number of all choices.
    """
    if not any(choices):
        return x
    columns = []
    for axis, number in enumerate(choices):
        column = x[:, axis]
        if number == 0:
            columns.append(column[:, None])
        else:
            index = np.minimum((column * number).astype(int), number - 1)
            columns.append(_APART * np.eye(number)[index])
    return np.concatenate(columns, axis=1)
