"""``data_driven``: one configuration for many tasks, out of candidates that race over them.

A trial is a candidate, a step is a task, and the value reported at it is the candidate's utility on that task. The
first candidates are a low-discrepancy design, fixed before the first task; what follows comes from boxes around the
best ones (`hypertune.bounds.refinement`). `RacingPruner` stops candidates that are shown to be worse than another.

A candidate that was proposed after looking at the tasks cannot be certified on them. So the certificate is about the
best candidate of the design; a refined winner needs tasks that had no part in the search.

Tasks that arrive one at a time, with all candidates evaluated on each, are `hypertune.bounds.exponential_forecaster`:
nothing is proposed there, and nobody drops out, so it is no option of a sampler.

References:
    [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
        networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
    [WaudbySmith24] Waudby-Smith, Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024,
        arXiv 2010.09686.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hypertune.bounds._checks import check_count, check_epsilon
from hypertune.bounds.betting import betting_certificate
from hypertune.errors import BoundError, TaskError
from hypertune.records import Certificate
from hypertune.samplers._design import Design
from hypertune.samplers._race import Race, refuted_by_others, utility_table
from hypertune.samplers._single_objective import check_single_objective
from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "DataDrivenSampler", "data_driven"]

_OVER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class DataDrivenSampler(BaseSampler):
    """Proposes a design of candidates, then refines around the best; knows who survives and what is certified.

    No point is proposed twice. The study is stopped when all proposals are spent, when only one candidate is left that
    no other is shown to beat, or when the certificate is as tight as ``epsilon``; the study's own budget ends it too.

    Reported values are utilities in [0, 1] when the study maximizes and losses in [0, 1] when it minimizes. For other
    metrics give ``low`` and ``high``, fixed before the first task; what lies beyond them is clipped. A task that failed
    is reported as NaN and left out for all who are compared on it.

    Args:
        space: The search space; None: what the study's trials have in common.
        seed: Seed of all proposals; None: a random one.
        candidates: Candidates of the design, from 2.
        refinements: Candidates that may follow it; 0: none, and the race has all of ``delta``; None: until the study's
            budget is spent.
        batch: Refinements proposed from the same knowledge, from 1.
        delta: Probability of error of the race, and, once more, of the certificate, in (0, 1).
        epsilon: Margin of the certificate that is enough, in (0, 1); None: no such end.
        low: Value of the metric that counts as the lowest; 0.
        high: Value of the metric that counts as the highest; 1.

    Attributes:
        race: Levels and limits of the comparisons; `RacingPruner` takes them from here.
        space: The search space, or None.
        epsilon: Margin that is enough, or None.

    Raises:
        ConfigError: An option is out of range.
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, BaseDistribution] | None = None,
        *,
        seed: int | None = None,
        candidates: int = 16,
        refinements: int | None = None,
        batch: int = 4,
        delta: float = 0.05,
        epsilon: float | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        if isinstance(space, Mapping):
            space = SearchSpace(space)
        self.race = Race(candidates, delta, low, high, open=refinements != 0)
        self._refinements = None if refinements is None else check_count(refinements, "sampler.refinements", 0)
        self._batch = check_count(batch, "sampler.batch")
        self.epsilon = None if epsilon is None else check_epsilon(epsilon, "sampler.epsilon")
        self._candidates = check_count(candidates, "sampler.candidates", 2)
        self.space = space
        self._common = IntersectionSearchSpace(include_pruned=True)
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._independent = RandomSampler(seed=self._seed)
        self._designs: dict[tuple[tuple[str, str], ...], Design] = {}

    def reseed_rng(self) -> None:
        """Reseed the sampler of conditional hyperparameters; proposals follow from the study's trials."""
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the hyperparameters that are proposed together."""
        known = self._common.calculate(study) if self.space is None else self.space.unconditional
        return _searched(known)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Propose one candidate."""
        check_single_objective(study, self)
        if not search_space:
            return {}
        trials = [t for t in study._get_trials(deepcopy=False, use_cache=True) if t.number != trial.number]
        design = self._design(search_space)
        proposed = design.next(trials, self._estimates(trials, study.direction))
        last = self._refinements is not None and len(trials) + 1 >= len(design.points) + self._refinements
        # Without a space of its own, the trials to come may have other hyperparameters too.
        if last or (proposed is None and self.space is not None):
            _stop(study)  # no trial is begun after this one; running ones go on
        return dict(design.points[trial.number % len(design.points)] if proposed is None else proposed)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Sample a hyperparameter that is not in the space, or a conditional one."""
        check_single_objective(study, self)
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Stop the study when there is nothing left to find out."""
        if len(study.directions) > 1:
            return
        trials = study._get_trials(deepcopy=False, use_cache=False)
        over = sum(other.state in _OVER and other.number != trial.number for other in trials) + 1
        refined = over - self._candidates
        if refined < 0:
            return
        if refined % self._batch == 0 and self._settled(study, trial, state, refined):
            _stop(study)

    @property
    def design_size(self) -> int:
        """Candidates of the design: fewer than asked for when the space has no more."""
        space = {} if self.space is None else _searched(self.space.unconditional)
        return len(self._design(space).points) if space else self._candidates

    def survivors(self, study: Study) -> list[int]:
        """Return the numbers of the completed trials that no other completed one is shown to beat."""
        return self._survivors(_complete(study), study.direction)

    def failed_tasks(self, study: Study) -> dict[int, tuple[int, ...]]:
        """Return the tasks on which candidates failed, each with the numbers of the trials."""
        failed: dict[int, tuple[int, ...]] = {}
        for trial in study.get_trials(deepcopy=False):
            for step, value in trial.intermediate_values.items():
                if math.isnan(value):
                    failed[step] = (*failed.get(step, ()), trial.number)
        return dict(sorted(failed.items()))

    def certificate(self, study: Study) -> Certificate:
        """Bound from below what the best completed trial achieves on a new task.

        Tasks that failed for a completed candidate are left out for all of them. The bound pays for all candidates of
        the design, so it holds for whichever won, at any time the study is stopped.

        Raises:
            BoundError: The best trial was proposed after looking at the tasks.
            TaskError: No trial is complete, fewer than 2 tasks are left, or a value has no utility.
        """
        return self._certificate(_complete(study), study.direction)

    def _survivors(self, complete: Sequence[FrozenTrial], direction: StudyDirection) -> list[int]:
        numbers = [trial.number for trial in complete]
        _, table = utility_table(complete, self.race, direction)
        return [n for n, out in zip(numbers, refuted_by_others(table, numbers, self.race), strict=True) if not out]

    def _certificate(self, complete: Sequence[FrozenTrial], direction: StudyDirection) -> Certificate:
        _, table = utility_table(complete, self.race, direction)
        table = table[~np.isnan(table).any(axis=1)]
        best = int(np.argmax(table.mean(axis=0))) if table.size else 0
        if complete and not self._fixed(complete[best]):
            raise BoundError(
                "the best candidate was proposed after looking at these tasks, so they certify nothing about it",
                where="tasks",
                given=f"trial {complete[best].number}",
                expected=f"one of the {self._candidates} candidates of the design",
                fix="evaluate it on held-out tasks and use hold_out_certificate, or set refinements: 0",
            )
        utilities = table[:, best] if complete else np.empty(0)
        return betting_certificate(utilities, self.race.delta, candidates=self._candidates)

    def _design(self, search_space: Mapping[str, BaseDistribution]) -> Design:
        key = tuple((name, repr(distribution)) for name, distribution in search_space.items())
        if key not in self._designs:
            self._designs[key] = Design(
                SearchSpace(dict(search_space)), self._candidates, seed=self._seed, batch=self._batch
            )
        return self._designs[key]

    def _fixed(self, trial: FrozenTrial) -> bool:
        space = _searched(trial.distributions if self.space is None else self.space.unconditional)
        return not space or self._design(space).has(trial.params)

    def _estimates(self, trials: Sequence[FrozenTrial], direction: StudyDirection) -> dict[int, float]:
        """Estimated mean utility by trial number, over the same tasks for all: a stopped trial saw only some."""
        known = _reported(trials)
        if not known:
            sign = -1.0 if direction is StudyDirection.MINIMIZE else 1.0
            complete = [t for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
            return {t.number: sign * float(t.value or 0.0) for t in complete if math.isfinite(t.value or 0.0)}
        _, table = utility_table(known, self.race, direction)
        most = int(np.argmax(_means(table) + np.sum(~np.isnan(table), axis=0)))  # who saw most tasks, best of those
        gains = _means(table - table[:, [most]])
        anchor = _means(table[:, [most]])[0]
        return {trial.number: float(anchor + gain) for trial, gain in zip(known, gains, strict=True)}

    def _settled(self, study: Study, trial: FrozenTrial, state: TrialState, refined: int) -> bool:
        # Optuna stores the end of a trial after this.
        complete = _complete(study) + (_reported([trial]) if state is TrialState.COMPLETE else [])
        if not complete:
            return False
        if refined >= self._batch and len(self._survivors(complete, study.direction)) == 1:
            return True
        if self.epsilon is None:
            return False
        try:
            return self._certificate(complete, study.direction).margin <= self.epsilon
        except (BoundError, TaskError):  # a refined candidate leads, or there are too few tasks
            return False


def data_driven(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build a `DataDrivenSampler`; its proposals follow from the seed and the study's trials."""
    sampler = construct(DataDrivenSampler, {"space": space, "seed": seed}, options, where="sampler")
    sampler._independent = RandomSampler(seed=continued_seed(seed, resumed_at))
    return sampler


SAMPLER = data_driven


def _stop(study: Study) -> None:
    with contextlib.suppress(RuntimeError):  # asked outside of `optimize`
        study.stop()


def _searched(distributions: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    return {name: distribution for name, distribution in distributions.items() if not distribution.single()}


def _reported(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [t for t in trials if any(not math.isnan(value) for value in t.intermediate_values.values())]


def _complete(study: Study) -> list[FrozenTrial]:
    return _reported(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))


def _means(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column over what it has; 0 where it has nothing."""
    there = ~np.isnan(table)
    means: NDArray[np.float64] = np.where(there, table, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return means
