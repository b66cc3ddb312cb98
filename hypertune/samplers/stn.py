"""``stn``: the search around self-tuning trials."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from scipy.special import softmax
from scipy.stats.qmc import Sobol

from hypertune.errors import ConfigError
from hypertune.samplers._expected_improvement import most_promising, normal_scores
from hypertune.samplers._features import features
from hypertune.samplers._history import History
from hypertune.samplers._history_sampler import HistorySampler
from hypertune.samplers._mip_landscape import PredictedLandscape
from hypertune.samplers._prior import Predictor
from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "STNSampler", "stn"]

_logger = logging.getLogger(__name__)

_NEAR = 0.3  # distance in the unit cube of the outer hyperparameters at which a trial's experience halves or so
_SPREAD = 0.15
_MARGIN = 0.03
_PREDICTIONS = 1024
_FIRST_LOOK = 2  # finished trials after which it is known whether the objective tunes inside its trials


class STNSampler(HistorySampler):
    """Searches what a self-tuning trial cannot tune, and starts each trial where good ones ended.

    All hyperparameters are proposed together, choices included. Outer ones (learning rate, optimizer): first the centre
    of the space, then a low-discrepancy sequence, then the point of the largest expected improvement under a Gaussian
    process of (outer hyperparameters) -> (value after tuning). Self-tuned ones start in the middle of their ranges,
    later part of the way from there to where tuning ended in good trials with similar outer hyperparameters, plus a
    spread that shrinks as evidence grows. Only part of the way: tuning passes through strong regularization on its way
    to weak more easily than back, and a trial that starts with hardly any overfits before its weights have learned how
    to respond.

    Conditional hyperparameters, and those the space does not have, come from ``independent_sampler``. Running trials
    count as if they had the value the model predicts for them. Pruned trials are learned from like complete ones, and
    failed ones count as worse than all others, so that what fails is not proposed again and again. Nothing is kept
    between proposals but the seed: a resumed study goes on as an uninterrupted one would.

    If the objective does not tune inside its trials, all hyperparameters become outer ones, and it is said once.

    Args:
        space: The search space; None: what the study's trials have in common.
        self_tuned: Names tuned inside trials; those the space marks by default.
        seed: Seed of all proposals; None: a random one.
        n_startup: Trials before the model is used, at least 1.
        start: Where self-tuned hyperparameters first start, as a share of their (scaled) range, in [0, 1].
        follow: How far from ``start`` to where good trials ended a trial starts, in [0, 1].
        explore: Probability that a trial starts self-tuned hyperparameters anywhere, in [0, 1].
        warm_start: Predictor of values: self-tuned hyperparameters that it covers first start where its prediction is
            lowest, instead of at ``start``.
        independent_sampler: For conditional hyperparameters; a multivariate TPE by default.

    Raises:
        ConfigError: An option is out of range, or ``self_tuned`` names something the space does not have.
    """

    self_tuning = True

    def __init__(
        self,
        space: SearchSpace | Mapping[str, BaseDistribution] | None = None,
        *,
        self_tuned: Collection[str] | None = None,
        seed: int | None = None,
        n_startup: int = 4,
        start: float = 0.45,
        follow: float = 0.5,
        explore: float = 0.1,
        warm_start: Predictor | None = None,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        if isinstance(n_startup, bool) or not isinstance(n_startup, int) or n_startup < 1:
            raise _wrong("n_startup", n_startup, "a whole number of at least 1")
        for name, value in (("start", start), ("follow", follow), ("explore", explore)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise _wrong(name, value, "a number in [0, 1]")
        if warm_start is not None and not hasattr(warm_start, "predict"):
            raise _wrong("warm_start", warm_start, "mip in a config, or a predictor")
        if isinstance(space, Mapping):
            space = SearchSpace(space)
        marked = space.self_tuned if space is not None else frozenset()
        self._self_tuned = frozenset(marked if self_tuned is None else self_tuned)
        for name in self._self_tuned:
            if space is not None and name not in space.distributions:
                raise _wrong("self_tuned", name, f"names of the space: {', '.join(space.names)}")
        super().__init__(space, seed=seed, independent_sampler=independent_sampler)
        self._n_startup = n_startup
        self._start = float(start)
        self._follow = float(follow)
        self._explore = float(explore)
        self._predictor = warm_start
        self._landscapes: dict[tuple[str, ...], PredictedLandscape] = {}
        self._told = False

    def propose(self, history: History, number: int) -> NDArray[np.float64]:
        """Return where a trial starts: a function of the history, the trial's number, and the seed.

        Args:
            history: Finished and running trials.
            number: Number of the trial, from 0.

        Returns:
            ``(d,)`` in [0, 1], on the axes of ``history.names``.
        """
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        tuned = np.array([name in self._self_tuned for name in history.names])
        if not self._tunes(history):
            tuned[:] = False
        point = np.empty(len(history.names))
        point[~tuned] = self._outer(history, ~tuned, number, seed)
        point[tuned] = self._starts(history, tuned, point[~tuned], seed)
        return point

    def _tunes(self, history: History) -> bool:
        if not self._self_tuned.intersection(history.names):
            tunes, why = False, "no hyperparameter is marked self_tune"
        else:
            tunes = bool(history.moved.any()) or np.isfinite(history.y).sum() < _FIRST_LOOK
            why = "the objective reports no tuned values"
        if not tunes and not self._told:
            self._told = True
            _logger.warning("STNSampler searches all hyperparameters over trials: %s", why)
        return tunes

    def _outer(self, history: History, outer: NDArray[np.bool_], number: int, seed: int) -> NDArray[np.float64]:
        size = int(outer.sum())
        if size == 0:
            return np.empty(0)
        startup = self._n_startup if size < len(history.names) else max(self._n_startup, min(10, 2 * size))
        usable = np.isfinite(history.y)
        if number < startup or usable.sum() < 2 or np.unique(history.y[usable]).size < 2:
            return self._spread_out(size, number)
        return most_promising(
            history.x[:, outer],
            history.y,
            history.pending[:, outer],
            seed=seed,
            choices=tuple(np.array(history.choices)[outer]),
        )

    def _spread_out(self, size: int, number: int) -> NDArray[np.float64]:
        if number == 0:
            return np.full(size, 0.5)
        points = Sobol(size, seed=np.random.default_rng(self._seed)).fast_forward(number)
        point: NDArray[np.float64] = points.random(1)[0]
        return point

    def _starts(
        self, history: History, tuned: NDArray[np.bool_], outer: NDArray[np.float64], seed: int
    ) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        size = int(tuned.sum())
        if size == 0:
            return np.empty(0)
        begin = self._begin(history.names)[tuned]
        ended = history.moved & np.isfinite(history.y)
        if not ended.any():
            spread = 0.0 if len(history) + len(history.pending) == 0 else _SPREAD / 2
            return np.clip(begin + rng.normal(0.0, spread, size), 0.0, 1.0)
        if rng.random() < self._explore:
            return rng.uniform(0.1, 0.9, size)
        choices = tuple(np.array(history.choices)[~tuned])
        apart = features(history.x[ended][:, ~tuned], choices) - features(outer[None], choices)
        distances = np.linalg.norm(apart, axis=1)
        merits = -1.5 * normal_scores(history.y[ended]) - 0.5 * (distances / _NEAR) ** 2
        good = history.x_tuned[ended][rng.choice(len(merits), p=softmax(merits))][tuned]
        centre = begin + self._follow * (good - begin)
        spread = _SPREAD / math.sqrt(1 + ended.sum() / 4)
        # Off the very ends, where a hyperparameter hardly feels its gradient and a trial would be stuck from the start.
        start: NDArray[np.float64] = np.clip(centre + rng.normal(0.0, spread, size), _MARGIN, 1.0 - _MARGIN)
        return start

    def _begin(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """Return where trials start that know of no other, ``(d,)``."""
        begin = np.full(len(names), self._start)
        if self._predictor is None or not set(names) & set(self._predictor.names):
            return begin
        if names not in self._landscapes:
            self._landscapes[names] = PredictedLandscape(self._predictor, names, size=_PREDICTIONS, seed=self._seed)
        landscape = self._landscapes[names]
        begin[landscape.covered] = np.clip(landscape.lowest(), _MARGIN, 1.0 - _MARGIN)
        return begin


def stn(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build an `STNSampler`; only its independent sampler has a state, and needs another seed in a resumed search."""
    independent = construct(
        TPESampler, {"multivariate": True, "seed": continued_seed(seed, resumed_at)}, {}, where="sampler"
    )
    defaults = {"space": space, "seed": seed, "independent_sampler": independent}
    return construct(STNSampler, defaults, options, where="sampler")


stn.self_tuning = True  # type: ignore[attr-defined]  # its trials tune themselves unless the config says otherwise
SAMPLER = stn


def _wrong(option: str, value: object, expected: str) -> ConfigError:
    return ConfigError("out of range", where=f"sampler.{option}", given=value, expected=expected)
