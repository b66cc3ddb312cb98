"""``mip``: Bayesian optimization that begins with what a hypernetwork predicts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats.qmc import Sobol

from hypertune.errors import ConfigError, SpaceError
from hypertune.records import PREDICTED
from hypertune.samplers._history import History
from hypertune.samplers._history_sampler import HistorySampler
from hypertune.samplers._mip_landscape import PredictedLandscape
from hypertune.samplers._mip_search import next_point
from hypertune.samplers._prior import Predictor
from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "MIPSampler", "mip"]

_logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

_FIRST = 4  # trials among the predicted best, and 2 more for each hyperparameter without prediction
_MOST_FIRST = 10
_ENOUGH = 4  # values that a calibration needs


class MIPSampler(HistorySampler):
    """Bayesian optimization whose prior mean is a prediction, trusted as far as real trials bear it out.

    A Gaussian process models the trials' values by rank. With a predictor its prior mean is ``a + b p(x)``, b at least
    0 and estimated with shrinkage; when the trials show no rank signal, b is 0 and proposals are those without a
    predictor, so that a useless one costs its training and the first trials. The first trials lie among the predicted
    best, far from each other; hyperparameters that the predictor does not cover (learning rate, architecture) follow a
    low-discrepancy sequence in them. Later ones have the largest expected improvement, its logarithm being climbed with
    the gradients of process and predictor.

    Without a predictor, or with one that covers nothing of the search, it is that Gaussian process from the start:
    first the centre, then a low-discrepancy sequence, then expected improvement.

    Each trial's own prediction is kept as its user attribute ``hypertune:predicted``: what the predictor says, in its
    units, uncalibrated.

    Conditional hyperparameters, and those the space does not have, come from ``independent_sampler``. Running trials
    count as if they had the value the model predicts for them. Pruned trials are learned from like complete ones, and
    failed ones count as worse than all others. Nothing is kept between proposals but the seed and predictions: a
    resumed study goes on as an uninterrupted one would.

    Args:
        space: The search space; None: what the study's trials have in common.
        predict: The predictor.
        seed: Seed of all proposals; None: a random one.
        n_startup: Trials before the model is used, at least 1; None: with a predictor 4 and 2 more for each
            hyperparameter that it does not cover, without one 2 for each hyperparameter, from 4 to 10 in both cases.
        n_predictions: Configurations whose prediction is looked up at once, at least 64.
        independent_sampler: For conditional hyperparameters; a multivariate TPE by default.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, BaseDistribution] | None = None,
        *,
        predict: Predictor | None = None,
        seed: int | None = None,
        n_startup: int | None = None,
        n_predictions: int = 1024,
        independent_sampler: BaseSampler | None = None,
    ) -> None:
        if n_startup is not None:
            _check_count("n_startup", n_startup, 1)
        _check_count("n_predictions", n_predictions, 64)
        super().__init__(space, seed=seed, independent_sampler=independent_sampler)
        self._predictor = predict
        self._n_startup = n_startup
        self._n_predictions = n_predictions
        self._landscapes: dict[tuple[str, ...], PredictedLandscape] = {}
        self._told = False

    def propose(self, history: History, number: int) -> Array:
        """Return a trial's point: a function of the history, the trial's number, and the seed.

        Args:
            history: Finished and running trials.
            number: Number of the trial, from 0.

        Returns:
            ``(d,)`` in [0, 1], on the axes of ``history.names``.
        """
        landscape = self._landscape(history.names)
        usable = np.isfinite(history.y)
        enough = 2 if landscape is None else _ENOUGH
        if number < self._startup(len(history.names), landscape):
            return self._first(len(history.names), number, landscape)
        if usable.sum() < enough or np.unique(history.y[usable]).size < 2:
            return self._first(len(history.names), number, landscape)
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        return next_point(
            history.x, history.y, history.pending, seed=seed, choices=history.choices, landscape=landscape
        )

    def _startup(self, size: int, landscape: PredictedLandscape | None) -> int:
        if self._n_startup is not None:
            return self._n_startup
        without = size if landscape is None else _FIRST // 2 + size - len(landscape.covered)
        return max(_FIRST, min(_MOST_FIRST, 2 * without))

    def _first(self, size: int, number: int, landscape: PredictedLandscape | None) -> Array:
        if number == 0:
            point = np.full(size, 0.5)
        else:
            point = Sobol(size, seed=np.random.default_rng(self._seed)).fast_forward(number).random(1)[0]
        if landscape is not None:
            point[landscape.covered] = landscape.spread_out(number + 1)[number]
        return point

    def _landscape(self, names: tuple[str, ...]) -> PredictedLandscape | None:
        if self._predictor is None:
            return None
        if not set(names) & set(self._predictor.names):
            if not self._told:
                self._told = True
                _logger.warning(
                    "MIPSampler searches without predictions: the predictor covers %s, the search has %s",
                    ", ".join(self._predictor.names) or "nothing",
                    ", ".join(names),
                )
            return None
        if names not in self._landscapes:
            self._landscapes[names] = PredictedLandscape(
                self._predictor, names, size=self._n_predictions, seed=self._seed
            )
        return self._landscapes[names]

    def _proposed(self, study: Study, trial: FrozenTrial, space: SearchSpace, params: Mapping[str, Any]) -> None:
        landscape = self._landscape(space.names)
        if landscape is None:
            return
        fixed = trial.system_attrs.get("fixed_params", {})  # a queued trial keeps its own values
        try:
            point = space.encode({**params, **{name: fixed[name] for name in space.names if name in fixed}})
        except SpaceError:
            return
        value = float(landscape.predicted(point[None])[0])
        if math.isfinite(value):
            study._storage.set_trial_user_attr(trial._trial_id, PREDICTED, value)


def mip(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build a `MIPSampler`; only its independent sampler has a state, and needs another seed in a resumed search."""
    independent = construct(
        TPESampler, {"multivariate": True, "seed": continued_seed(seed, resumed_at)}, {}, where="sampler"
    )
    defaults = {"space": space, "seed": seed, "independent_sampler": independent}
    return construct(MIPSampler, defaults, options, where="sampler")


mip.predicts = True  # type: ignore[attr-defined]  # it wants the predictor of the config's hypernetwork
SAMPLER = mip


def _check_count(option: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            "out of range", where=f"sampler.{option}", given=value, expected=f"a whole number of at least {least}"
        )
