"""Any sampler as a search algorithm of Ray Tune."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from ray.tune.result import DEFAULT_METRIC
from ray.tune.search.searcher import Searcher

from hypertune.errors import ConfigError, SpaceError, did_you_mean
from hypertune.ray._arguments import DIRECTIONS, agreed, check_max_t, check_metric, check_sampler
from hypertune.ray._points import check_point, read_points
from hypertune.ray._results import (
    TUNED_PREFIX,
    flatten,
    missing_metric,
    read_config,
    read_number,
    read_step,
    read_tuned,
)
from hypertune.ray._spaces import SpaceLike, nest, read_space, settle_space
from hypertune.ray._state_file import read_state, write_state
from hypertune.ray._study import RayStudy
from hypertune.records import Params
from hypertune.registry import load
from hypertune.samplers.contract import as_sampler
from hypertune.space import SearchSpace

__all__ = ["HyperTuneSearch"]

_logger = logging.getLogger(__name__)


class HyperTuneSearch(Searcher):  # type: ignore[misc]  # Ray is untyped
    """Search algorithm of Ray Tune that proposes with any Optuna sampler.

    ```python
    tune.Tuner(trainable, param_space={"lr": tune.loguniform(1e-4, 1e-1)},
               tune_config=tune.TuneConfig(search_alg=HyperTuneSearch("gp"), metric="loss", mode="min", num_samples=50))
    ```
    Give the space once: as Ray's domains in ``param_space``, or here. Names joined by ``/`` are nested dicts to the
    trainable. Conditional hyperparameters of a space given here are in the config only when they exist.

    Where tuning inside a trial ended is reported under ``tuned/<name>``, as
    ``tune.report({"loss": loss, "tuned/dropout": 0.31})`` or ``tune.report({"loss": loss, "tuned": {"dropout":
    0.31}})``. ``Repeater`` hands on nothing but the metric, so tuned values do not get through it.

    The study knows running trials, so samplers see what is being evaluated, and it gets every intermediate result. A
    trial that a scheduler stops, or a stopping criterion of the run, ends with its last value: Ray does not say which
    of them it was, and every sampler learns from complete trials, not every one from pruned ones. With ``max_t``, a
    trial that ends before that many iterations counts as pruned. A trial that raises, or whose value is NaN, counts as
    failed. When Ray runs it once more, that is a trial of its own with the same values. Population-based training
    proposes by itself, and Ray refuses it together with a search algorithm.

    Args:
        sampler: A sampler's name (``stn``, ``tpe``, ``my_module:Class``), or an Optuna sampler, which then has its own
            seed.
        space: A `SearchSpace`, a shipped space's name, a YAML file, or Optuna distributions by name; None: Ray's
            ``param_space``.
        metric: Reported value to optimize; None: that of ``TuneConfig``. Ray hands that one on only together with a
            ``param_space`` that is not empty.
        mode: ``min`` or ``max``; None: that of ``TuneConfig``.
        points_to_evaluate: Values tried first, nested or flat; hyperparameters that they leave out are sampled.
        evaluated_rewards: The metric at each of these points, which are then not evaluated again.
        seed: Seed of the proposals; None: a random one.
        max_t: Iterations of a trial that is not stopped early, the ``max_t`` of Ray's schedulers, at least 1.
        options: Options of the sampler when it is named.

    Attributes:
        space: The search space; None until Ray hands it over.

    Raises:
        ConfigError: An argument is wrong.
        SpaceError: The space is wrong, or given twice.
    """

    def __init__(
        self,
        sampler: BaseSampler | str = "tpe",
        space: SpaceLike | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[float] | None = None,
        seed: int | None = None,
        max_t: int | None = None,
        **options: Any,
    ) -> None:
        check_metric(metric, mode)
        super().__init__(metric=metric, mode=mode)
        self._metric: str | None = metric
        self._mode: str | None = mode
        check_sampler(sampler, seed, options)
        check_max_t(max_t)
        self._max_t = max_t
        self._sampler: BaseSampler | str = sampler
        self._options = options
        self._seed = secrets.randbits(31) if seed is None else seed
        self._points = read_points(points_to_evaluate, evaluated_rewards)
        self._own_space = space is not None
        self.space: SearchSpace | None = None if space is None else read_space(space)
        self._state: RayStudy | None = None
        self._pruned: set[str] = set()
        self._said: set[str] = set()
        if self.space is not None and mode is not None:
            self._begin(self.space)

    @property
    def study(self) -> Study:
        """The Optuna study; each trial has Ray's id as its user attribute ``ray:trial_id``.

        Raises:
            ConfigError: Space or mode are not known yet.
        """
        return self._ready().study

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take metric and mode from ``TuneConfig``, and the space from ``param_space``; Ray calls this.

        Raises:
            ConfigError: Metric or mode differ from those given before.
            SpaceError: The space is given twice, or not at all, or has a domain without an equivalent here.
        """
        check_metric(metric, mode)
        metric, mode = agreed("metric", self._metric, metric), agreed("mode", self._mode, mode)
        self.space = settle_space(self.space, config, own=self._own_space)
        self._metric, self._mode = metric, mode
        if mode is not None:
            self._begin(self.space)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the config of a trial, or ``FINISHED`` when the sampler has nothing left to propose.

        Raises:
            ConfigError: Space, metric or mode are not known.
        """
        state = self._ready()
        # A trainable that returns its value, instead of reporting it, has it under this name.
        self._metric = self._metric or DEFAULT_METRIC
        if state.exhausted and state.find(trial_id) is None:
            return str(Searcher.FINISHED)
        return nest(state.ask(trial_id))

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Record an intermediate result; one of a trial that nobody knows is left out with a warning."""
        flat = flatten(result)
        trial = self._running(trial_id, flat)
        if trial is not None:
            self._record(trial, flat)

    def on_trial_complete(self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """Record how a trial ended; one that nobody knows, or that has ended, is left out with a warning."""
        flat = flatten(result or {})
        trial = self._running(trial_id, flat)
        if trial is None:
            return
        # Ray does not show the last result of a trial that is stopped before.
        value = self._record(trial, flat)
        state, trial = self._ready(), self._ready().trial(trial.number)
        last = max(trial.intermediate_values, default=None)
        if trial_id in self._pruned:
            self._pruned.discard(trial_id)
            state.stop(trial.number)
            return
        if value is None and not error and last is not None:
            value = trial.intermediate_values[last]
        value = None if value is None else self._final_value(trial, value)
        if value is None or math.isnan(value):
            state.fail(trial.number)
        elif self._max_t is not None and last is not None and (read_step(flat) or last) < self._max_t:
            state.stop(trial.number)
        else:
            state.complete(trial.number, value)

    def should_prune(self, trial_id: str, result: Mapping[str, Any], pruner: BasePruner) -> bool:
        """Record a result, and return whether a pruner of Optuna's kind stops the trial, which then counts as pruned.

        Raises:
            HypertuneError: The pruner cannot judge what was reported.
        """
        flat = flatten(result)
        trial = self._running(trial_id, flat)
        if trial is None:
            return False
        self._record(trial, flat)
        if not self._ready().prune(trial.number, pruner):
            return False
        self._pruned.add(trial_id)
        return True

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: float | None,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """Tell of a point that was evaluated elsewhere; what the space does not have is left out.

        Args:
            parameters: Its config, nested or flat; every hyperparameter of the space that exists.
            value: The metric.
            error: It failed, and has no value.
            pruned: It was stopped early.
            intermediate_values: The metric after each iteration.

        Raises:
            ConfigError: Space or mode are not known yet.
            SpaceError: A hyperparameter is missing or outside its range.
        """
        state = self._ready()
        flat = flatten(parameters)
        known = state.space.active({name: flat[name] for name in state.space.names if name in flat})
        params = state.space.validate(known, where="parameters")
        how = TrialState.FAIL if error else TrialState.PRUNED if pruned else TrialState.COMPLETE
        steps = dict(enumerate(map(float, intermediate_values or ()), start=1))
        state.add(params, None if value is None else float(value), how, steps)

    def save(self, checkpoint_path: str) -> None:
        """Write everything to a file: the study with its running trials, and the sampler with its random state."""
        write_state(checkpoint_path, type(self).__name__, self.__dict__)

    def restore(self, checkpoint_path: str) -> None:
        """Become what was saved; arguments of this object do not count any more.

        Raises:
            StorageError: The file holds another kind of search algorithm, or none.
        """
        self.__dict__.update(read_state(checkpoint_path, type(self).__name__))

    def _final_value(self, trial: FrozenTrial, last: float) -> float:
        """Value of a trial that was not stopped early, given the last one it reported."""
        return last

    def _begin(self, space: SearchSpace) -> None:
        """Start the study, once."""
        if self._state is not None:
            return
        assert self._mode is not None
        sampler = self._sampler
        if isinstance(sampler, str):
            sampler = as_sampler(load("sampler", sampler), space, seed=self._seed, resumed_at=0, options=self._options)
        state = RayStudy(space, sampler, DIRECTIONS[self._mode])
        for index, (point, reward) in enumerate(self._points):
            params = check_point(point, space, where=f"points_to_evaluate.{index}", whole=reward is not None)
            if reward is None:
                state.enqueue(params)
            else:
                state.add(params, reward, TrialState.COMPLETE, {})
        self._state = state

    def _ready(self) -> RayStudy:
        if self._state is None:
            name = type(self).__name__
            if self.space is None:
                raise SpaceError(
                    "there is nothing to search yet", where=name, expected="Ray's domains in param_space, or space="
                )
            raise ConfigError(
                "metric and mode are not known",
                where=name,
                expected=f"metric= and mode= of {name} or of TuneConfig",
                fix=f"give both to {name}: without a param_space Ray does not hand on those of TuneConfig",
            )
        return self._state

    def _running(self, trial_id: str, flat: Mapping[str, Any]) -> FrozenTrial | None:
        """Return the running trial of an id; None, with a warning, when there is none."""
        state = self._ready()
        trial = state.find(trial_id)
        if trial is not None and trial.state is TrialState.RUNNING:
            return trial
        if trial is None:
            # Ray knows a trial that this search does not: it was killed between writing the two, or restarts it anew.
            params = self._params_of(flat)
            if params is not None:
                return state.open(trial_id, params)
            self._say(f"unknown:{trial_id}", f"nothing is known of trial {trial_id}; its result is left out")
        elif trial.state is TrialState.FAIL and flat:
            return state.open(trial_id, trial.params)
        else:
            self._say(f"ended:{trial_id}", f"trial {trial_id} has ended; its further result is left out")
        return None

    def _params_of(self, flat: Mapping[str, Any]) -> Params | None:
        assert self.space is not None
        try:
            return self.space.validate(self.space.active(read_config(flat, self.space.names)))
        except SpaceError:
            return None

    def _record(self, trial: FrozenTrial, flat: Mapping[str, Any]) -> float | None:
        """Record what a result says, and return its metric."""
        state, step = self._ready(), read_step(flat)
        tuned = read_tuned(flat)
        for name in [name for name in tuned if name not in state.space.distributions]:
            near = did_you_mean(name, state.space.names)
            self._say(f"tuned:{name}", f"{TUNED_PREFIX}{name} is reported, and the space has no {name}: {near}")
            del tuned[name]
        if tuned:
            state.tune(trial.number, tuned)
        metric = self._metric or DEFAULT_METRIC
        value = read_number(flat, metric)
        if value is None:
            if flat:
                self._say("metric", missing_metric(metric, flat))
        elif step is not None:
            state.report(trial.number, step, value)
        return value

    def _say(self, what: str, message: str) -> None:
        """Warn once of each thing."""
        if what not in self._said:
            self._said.add(what)
            _logger.warning("%s: %s", type(self).__name__, message)
