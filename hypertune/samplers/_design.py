"""Which point a search over many tasks tries next: the next of its design, or one near the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial

from hypertune.bounds.refinement import design_points, refine_points
from hypertune.errors import SpaceError
from hypertune.records import Params
from hypertune.space import SearchSpace

__all__ = ["Design"]

_ENOUGH = 8  # points looked at, for each one wanted, before a small space counts as used up
_ATTEMPTS = 16
_KEEP_CHOICE = 0.7


class Design:
    """A design of distinct configurations, and the refinement around the best of those tried.

    Attributes:
        points: The design, distinct configurations; fewer than were wanted when the space has no more.
    """

    def __init__(self, space: SearchSpace, candidates: int, *, seed: int, batch: int) -> None:
        self._space, self._seed, self._batch = space, seed, batch
        self._choices = np.array([isinstance(d, CategoricalDistribution) for d in space.distributions.values()])
        points: dict[tuple[object, ...], Params] = {}
        for point in design_points(_ENOUGH * candidates, len(space), seed=seed):
            params = space.decode(point)
            points.setdefault(self._key(params), params)
            if len(points) == candidates:
                break
        self.points = list(points.values())
        self._keys = list(points)

    def has(self, params: Params) -> bool:
        """Return whether a configuration is one of the design."""
        return self._key(params) in self._keys

    def next(self, trials: Sequence[FrozenTrial], estimates: Mapping[int, float]) -> Params | None:
        """Return a configuration that no trial has; None when there is none left.

        Args:
            trials: All trials in the order of their numbers, running ones included.
            estimates: Estimated mean utility by trial number, larger is better; a trial without one counts as the
                worst.
        """
        known, keys = self._known(trials)
        for key, params in zip(self._keys, self.points, strict=True):
            if key not in keys:
                return params
        for attempt in range(_ATTEMPTS):
            for params in self._near_best(known, estimates, attempt):
                if self._key(params) not in keys:
                    return params
        return None

    def _known(self, trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], set[tuple[object, ...]]]:
        known = [trial for trial in trials if all(name in trial.params for name in self._space.names)]
        return known, {self._key(trial.params) for trial in known}

    def _near_best(self, trials: Sequence[FrozenTrial], estimates: Mapping[int, float], attempt: int) -> list[Params]:
        first = len(self.points)
        # What the whole batch knows: trials before it that have ended.
        past = trials[: first + (len(trials) - first) // self._batch * self._batch]
        rows: list[NDArray[np.float64]] = []
        values: list[float] = []
        worst = min(estimates.values(), default=0.0)
        for trial in past:
            try:
                rows.append(self._space.encode(trial.params))
            except SpaceError:
                continue  # of another range
            values.append(estimates.get(trial.number, worst))
        size = len(self._space)
        seed = int(np.random.SeedSequence([self._seed, len(past), attempt]).generate_state(1)[0])
        if len(rows) < first:
            proposed = design_points(self._batch, size, seed=seed)
        else:
            proposed = refine_points(
                np.array(rows), np.array(values), self._batch, dimension=size, design=first, seed=seed
            )
            best = rows[int(np.argmax(values))]
            rng = np.random.default_rng(seed)
            # Neighbouring choices are no closer than others: mostly keep the best one's, else take any.
            fresh = rng.random(proposed.shape)
            chosen = np.where(rng.random(proposed.shape) < _KEEP_CHOICE, best, fresh)
            proposed = np.where(self._choices, chosen, proposed)
        offset = (len(trials) - first) % self._batch
        return [self._space.decode(point) for point in np.roll(proposed, -offset, axis=0)]

    def _key(self, params: Params) -> tuple[object, ...]:
        return tuple(params.get(name) for name in self._space.names)
