"""What a sampler of ours knows of a study: points of the unit cube, where tuning ended, and values."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hypertune._unit_cube import encode_value
from hypertune.errors import SpaceError
from hypertune.records import TUNED
from hypertune.space import SearchSpace

__all__ = ["History", "Row"]


class Row(NamedTuple):
    """One trial in the unit cube.

    Attributes:
        x: Where it started, ``(d,)`` in [0, 1].
        x_tuned: Where tuning inside it ended, ``(d,)``.
        moved: Whether it tuned anything.
        y: Its value, the smaller the better.
    """

    x: NDArray[np.float64]
    x_tuned: NDArray[np.float64]
    moved: bool
    y: float


@dataclass(frozen=True, slots=True)
class History:
    """Trials of a study in the unit cube of its hyperparameters.

    Attributes:
        names: Name of each axis.
        x: Where trials started, ``(n, d)`` in [0, 1].
        x_tuned: Where tuning inside them ended, ``(n, d)``; equal to ``x`` on axes that were not tuned.
        moved: Whether a trial tuned anything, ``(n,)``.
        y: Values, ``(n,)``, the smaller the better; infinite for a trial that was pruned before it had one.
        pending: Where running trials started, ``(p, d)``.
        choices: Number of unordered choices on each axis, 0 where values are ordered; empty: all are ordered.
    """

    names: tuple[str, ...]
    x: NDArray[np.float64]
    x_tuned: NDArray[np.float64]
    moved: NDArray[np.bool_]
    y: NDArray[np.float64]
    pending: NDArray[np.float64]
    choices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.choices:
            object.__setattr__(self, "choices", (0,) * len(self.names))

    @classmethod
    def of(
        cls,
        trials: Sequence[FrozenTrial],
        space: SearchSpace,
        direction: StudyDirection,
        *,
        current: int,
        known: MutableMapping[int, Row | None] | None = None,
    ) -> History:
        """Read a study's trials; those that do not have all hyperparameters inside their ranges are left out.

        Complete and pruned trials are learned from alike: a pruned one counts with its last report. A failed one counts
        as worse than all others, so that the same failure is not proposed again, unless its point is tried once more.

        Args:
            trials: All trials.
            space: The hyperparameters, one for each axis.
            direction: Which values are better.
            current: Number of the trial that is being proposed for; it is not pending.
            known: Finished trials that were read before, by their ids in the storage; it is added to. For the same
                study and hyperparameters only.
        """
        distributions = space.distributions
        sign = -1.0 if direction is StudyDirection.MAXIMIZE else 1.0
        rows: list[Row] = []
        failed: list[Row] = []
        pending: list[NDArray[np.float64]] = []
        for trial in trials:
            if known is not None and trial._trial_id in known:
                row = known[trial._trial_id]
            else:
                row = _read(trial, space, sign)
                if known is not None and trial.state.is_finished():
                    known[trial._trial_id] = row  # what is finished never changes
            if row is None:
                continue
            if trial.state is TrialState.RUNNING and trial.number != current:
                pending.append(row.x)
            elif trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                rows.append(row)
            elif trial.state is TrialState.FAIL:
                failed.append(row)
        tried = {x.tobytes() for x in (*pending, *(row.x for row in rows))}
        rows += [Row(row.x, row.x, False, math.inf) for row in failed if row.x.tobytes() not in tried]
        size = len(distributions)
        return cls(
            tuple(distributions),
            np.array([row.x for row in rows]).reshape(-1, size),
            np.array([row.x_tuned for row in rows]).reshape(-1, size),
            np.array([row.moved for row in rows], dtype=bool),
            np.array([row.y if math.isfinite(row.y) else math.inf for row in rows]),
            np.array(pending).reshape(-1, size),
            tuple(
                len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0
                for distribution in distributions.values()
            ),
        )

    def __len__(self) -> int:
        return len(self.y)


def _read(trial: FrozenTrial, space: SearchSpace, sign: float) -> Row | None:
    """Read a trial; None: it does not have all hyperparameters inside their ranges."""
    try:
        x = space.encode(trial.params)
    except SpaceError:
        return None
    tuned = trial.user_attrs.get(TUNED)
    tuned = tuned if isinstance(tuned, Mapping) else {}
    return Row(x, _ended(x, tuned, space.distributions), bool(tuned), sign * _value(trial))


def _ended(
    x: NDArray[np.float64], tuned: Mapping[str, float], distributions: Mapping[str, BaseDistribution]
) -> NDArray[np.float64]:
    ended = x.copy()
    for axis, (name, distribution) in enumerate(distributions.items()):
        value = tuned.get(name)
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            continue
        # The attribute comes from the objective, which may be anyone's.
        if isinstance(value, int | float) and math.isfinite(value):
            ended[axis] = encode_value(min(max(value, distribution.low), distribution.high), distribution)
    return ended


def _value(trial: FrozenTrial) -> float:
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value
    if trial.intermediate_values:
        return trial.intermediate_values[max(trial.intermediate_values)]
    return math.nan
