"""What our samplers have in common: a proposal is a function of the study's history alone."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hypertune.records import Params
from hypertune.samplers._blas import one_blas_thread
from hypertune.samplers._history import History, Row
from hypertune.samplers._single_objective import check_single_objective
from hypertune.samplers.contract import construct
from hypertune.space import SearchSpace

__all__ = ["HistorySampler"]

_STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


class HistorySampler(BaseSampler, abc.ABC):
    """Proposes all unconditional hyperparameters together, as a point of the unit cube.

    No proposal depends on what is kept between proposals but the seed, so that a resumed study goes on as an
    uninterrupted one would. Finished trials are read once.
    Conditional hyperparameters, and those the space does not have, come from the independent sampler.

    Args:
        space: The search space; None: what the study's trials have in common.
        seed: Seed of all proposals; None: a random one.
        independent_sampler: A multivariate TPE by default.
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, BaseDistribution] | None,
        *,
        seed: int | None,
        independent_sampler: BaseSampler | None,
    ) -> None:
        self._space = SearchSpace(space) if isinstance(space, Mapping) else space
        self._common = IntersectionSearchSpace(include_pruned=True)
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._known: tuple[SearchSpace, dict[int, Row | None]] | None = None
        self._known_of: tuple[Any, ...] = ()
        self._independent = independent_sampler or construct(
            TPESampler, {"multivariate": True, "seed": self._seed}, {}, where="sampler"
        )

    @abc.abstractmethod
    def propose(self, history: History, number: int) -> NDArray[np.float64]:
        """Return where a trial starts: a function of the history, the trial's number, and the seed.

        Args:
            history: Finished and running trials.
            number: Number of the trial, from 0.

        Returns:
            ``(d,)`` in [0, 1], on the axes of ``history.names``.
        """

    def reseed_rng(self) -> None:
        """Reseed the independent sampler; proposals differ by the trial's number, which no two workers share."""
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the hyperparameters that are proposed together."""
        known = self._common.calculate(study) if self._space is None else self._space.unconditional
        return {name: distribution for name, distribution in known.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose the hyperparameters of one trial."""
        check_single_objective(study, self)
        if not search_space:
            return {}
        trials = study._get_trials(deepcopy=False, states=_STATES, use_cache=True)
        space, known = self._joint(study, search_space)
        history = History.of(trials, space, study.direction, current=trial.number, known=known)
        with one_blas_thread():
            point = self.propose(history, trial.number)
        params = space.decode(point)
        self._proposed(study, trial, space, params)
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample a conditional hyperparameter."""
        check_single_objective(study, self)
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Tell the independent sampler that a trial begins."""
        self._independent.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Tell the independent sampler how a trial ended."""
        self._independent.after_trial(study, trial, state, values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None, "_known_of": ()}

    def _joint(
        self, study: Study, search_space: dict[str, BaseDistribution]
    ) -> tuple[SearchSpace, dict[int, Row | None]]:
        """Return the space of what is proposed together, and what is known of the study's finished trials in it."""
        of = (study._storage, study._study_id, search_space)
        if self._known_of != of:
            self._known_of = of
            self._known = (SearchSpace(dict(search_space)), {})
        assert self._known is not None
        return self._known

    def _proposed(self, study: Study, trial: FrozenTrial, space: SearchSpace, params: Params) -> None:
        """Keep what is known of a proposal."""
