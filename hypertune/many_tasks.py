"""Trials over many tasks: a family is trained on each task in turn, and the pruner may stop the candidate after any.

One trial is one candidate, which goes through the tasks from the first to the last, so it runs wherever a trial runs.
The price of not interleaving candidates is measured in ``tests/benchmarks/test_racing.py``.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hypertune.bounds.betting import hold_out_certificate
from hypertune.config import Config
from hypertune.errors import BoundError, ConfigError, HypertuneError, SpaceError, TaskError, TrialError
from hypertune.objectives import FamilyObjective, source_folder
from hypertune.records import EXAMPLES, STANDARD_ERROR, TRIAL_STATE, Assignment, Cost, TrialResult
from hypertune.space import SearchSpace
from hypertune.task_source import TaskSource, open_tasks
from hypertune.training.trial import Diverged, Objective, Trial, TrialPruned

if TYPE_CHECKING:
    from optuna.study import Study

    from hypertune.families.contract import Family
    from hypertune.tasks.contract import Task
    from hypertune.training.settings import TrainingSettings

__all__ = ["ManyTasksObjective", "PlannedRace", "findings", "planned_race", "task_seed"]

_LOST_CAUSE = 3  # failures, and more than a fifth of the tasks, after which it is the candidate that fails


def task_seed(seed: int, index: int) -> int:
    """Return the seed of training on one task: the same for all candidates, so that they differ by themselves only."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] % 2**31)


@dataclass(frozen=True, slots=True)
class ManyTasksObjective:
    """Recipe for a family trained on each of many tasks.

    A candidate's value is the mean of the study's metric over the tasks, which is reported for each task at its place
    in the shared order. Training that diverges counts as the worst value; a task that fails otherwise is recorded as
    NaN. A candidate that fails on more than a fifth of its tasks, and at least three, fails itself. Candidates that
    are not stopped go on to the held-out tasks, which have no part in any choice, and bring a certificate home. A trial
    that repeats an interrupted one takes over the tasks that the latter had been through (``trial.state_seconds``).

    Attributes:
        config: The config; its family and tasks are set.
        space: The search space.
    """

    config: Config
    space: SearchSpace

    def __call__(self) -> Objective:
        """Load family and first task, and try models over the space.

        Raises:
            HypertuneError: Family, tasks, metric or space do not fit each other, or there are fewer than 2 tasks.
        """
        config, single = self.config, FamilyObjective(self.config, self.space)
        assert config.tasks is not None
        family, settings = single.load_family(), replace(single.settings(), state_seconds=None, reserve=0.0)
        tasks = open_tasks(config.tasks, source_folder(config), seed=config.study.seed)
        first = tasks.get(0)
        if first is None or tasks.get(1) is None:
            raise TaskError("too few tasks to search on", where="tasks", expected="at least 2")
        single.preflight(family, first, settings)

        def objective(trial: Trial) -> TrialResult:
            trial.params = {**single.fixed, **trial.params}
            return _Candidate(trial, config, self.space, family, settings, tasks).run()

        return objective

    @property
    def folder(self) -> Path:
        """Folder that the user's modules and relative paths start from."""
        return source_folder(self.config)

    def moved(self, folder: Path) -> ManyTasksObjective:
        """Return the recipe for a machine where that folder is another one."""
        return replace(self, config=self.config.replace(source=str(folder)))


class _Candidate:
    """One trial."""

    def __init__(
        self,
        trial: Trial,
        config: Config,
        space: SearchSpace,
        family: Family,
        settings: TrainingSettings,
        tasks: TaskSource,
    ) -> None:
        self._trial, self._config, self._space, self._family = trial, config, space, family
        self._settings, self._tasks = settings, tasks
        self._metric, self._cost = config.study.metric, Cost()
        options = config.sampler.options
        self._low, self._high = float(options.get("low", 0.0)), float(options.get("high", 1.0))
        self._up = config.study.direction == "maximize"
        self._done = self._saved()
        self._written = time.monotonic()

    def run(self) -> TrialResult:
        """Go through the tasks."""
        try:
            result = self._run()
        except (TrialPruned, HypertuneError):  # whatever else ends it may be a kill, after which it is repeated
            self._state.unlink(missing_ok=True)
            raise
        self._state.unlink(missing_ok=True)
        return result

    def _run(self) -> TrialResult:
        done: list[Mapping[str, float]] = []
        failures, index, why = 0, 0, ""
        while (task := self._racing(index)) is not None:
            try:
                metrics = self._evaluate(task, index)
                done.append(metrics)
            except (ConfigError, SpaceError, TrialPruned):
                raise
            except Exception as error:
                why = str(error) if isinstance(error, HypertuneError) else f"{type(error).__name__}: {error}"
                failures, metrics = failures + 1, {self._metric: math.nan}
            index += 1
            if failures >= _LOST_CAUSE and 5 * failures > index:
                raise TrialError("fails on more than a fifth of the tasks", where="trial", given=why)
            self._trial.report(index - 1, {**metrics, "tasks/failed": failures})
            if self._trial.should_prune():
                raise TrialPruned(f"another candidate is better, after {index} tasks", self._cost)
        if not done:
            raise TrialError("fails on every task", where="trial", given=why)
        metrics = {**_means(done), "tasks/evaluated": float(index), "tasks/failed": float(failures)}
        metrics.update(self._hold_out(index))
        return TrialResult(metrics[self._metric], metrics, cost=self._cost)

    def _racing(self, index: int) -> Task | None:
        config = self._config.tasks
        assert config is not None
        if self._tasks.total is not None and index >= self._tasks.total - config.hold_out:
            return None
        return self._tasks.get(index)

    def _evaluate(self, task: Task, index: int) -> Mapping[str, float]:
        if index not in self._done:
            metrics, cost = self._train(task, index)
            self._done[index] = dict(metrics), cost
            self._save()
        metrics, cost = self._done[index]
        paid = self._cost
        self._cost = Cost(
            paid.epochs + cost.epochs, paid.gradient_steps + cost.gradient_steps, paid.seconds + cost.seconds
        )
        return metrics

    @property
    def _state(self) -> Path:
        return self._trial.folder / TRIAL_STATE

    def _saved(self) -> dict[int, tuple[dict[str, float], Cost]]:
        """Return metrics and cost of the tasks that the interrupted trial had been through."""
        if not self._state.exists():
            return {}
        import torch

        from hypertune.training.trial_state import load_state

        state = load_state(self._state, torch.device("cpu"))
        if state is None or state.get("params") != dict(self._trial.params):
            return {}
        return {index: (metrics, Cost(**cost)) for index, (metrics, cost) in state["tasks"].items()}

    def _save(self) -> None:
        seconds, now = self._config.trial.state_seconds, time.monotonic()
        if seconds is None or now - self._written < seconds:
            return
        from hypertune.training.trial_state import save_state

        tasks = {index: (metrics, asdict(cost)) for index, (metrics, cost) in self._done.items()}
        self._trial.folder.mkdir(parents=True, exist_ok=True)
        save_state(self._state, {"params": dict(self._trial.params), "tasks": tasks})
        self._written = now

    def _train(self, task: Task, index: int) -> tuple[Mapping[str, float], Cost]:
        from hypertune.training.fit import fit

        folder = self._trial.folder / "tasks" / f"{index:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        seed = task_seed(self._config.study.seed, index)
        inner = Trial(
            Assignment(self._trial.number, self._trial.params, seed, str(folder)),
            lambda report: False,
            worker=self._trial.worker,
        )
        try:
            result = fit(inner, self._family, task, self._settings, space=self._space)
        except (Diverged, TrialPruned) as error:  # nothing asks it to be pruned but a loss that is not finite
            return {self._metric: self._low if self._up else self._high}, error.cost
        finally:
            if self._config.trial.keep_checkpoints != "all":
                shutil.rmtree(folder, ignore_errors=True)
        # How far the mean over one task's examples can be trusted says nothing about other tasks.
        of_examples = (f"/{EXAMPLES}", STANDARD_ERROR)
        metrics = {name: value for name, value in result.metrics.items() if not name.endswith(of_examples)}
        return {**metrics, self._metric: result.value}, result.cost

    def _hold_out(self, start: int) -> dict[str, float]:
        config = self._config.tasks
        assert config is not None
        values = []
        for index in range(start, start + config.hold_out):
            task = self._tasks.get(index)
            if task is None:
                break
            try:
                values.append(self._evaluate(task, index)[self._metric])
            except (ConfigError, SpaceError):
                raise
            except Exception:
                continue  # counted below
        if len(values) < 2:
            return {}
        shares = np.clip((np.array(values) - self._low) / (self._high - self._low), 0.0, 1.0)
        delta = float(self._config.sampler.options.get("delta", 0.05))
        lower = hold_out_certificate(shares if self._up else 1 - shares, delta).value
        span = self._high - self._low
        certified = self._low + lower * span if self._up else self._high - lower * span
        return {
            "hold_out/mean": float(np.mean(values)),
            "hold_out/certified": certified,
            "hold_out/tasks": float(len(values)),
            "hold_out/failed": float(config.hold_out - len(values)),
        }


def findings(study: Study, config: Config) -> dict[str, Any]:
    """Return what a study over many tasks found beside its best trial, for result.json.

    The tasks are those of the config, or an objective's own when the sampler is one for many tasks.

    Returns:
        ``survivors``: trial numbers of the complete candidates that no other was shown to beat; ``failed_tasks``: by
        task, the trials it failed for; ``certificate``: what is known of the best on a new task from the tasks of the
        search, or ``not_certified``: why there is nothing. Empty for other studies and other samplers.
    """
    if (config.tasks is None and config.objective is None) or not hasattr(study.sampler, "certificate"):
        return {}
    sampler: Any = study.sampler
    found: dict[str, Any] = {"survivors": sampler.survivors(study), "failed_tasks": sampler.failed_tasks(study)}
    try:
        return {**found, "certificate": asdict(sampler.certificate(study))}
    except (BoundError, TaskError) as error:
        return {**found, "not_certified": str(error)}


@dataclass(frozen=True, slots=True)
class PlannedRace:
    """What a config says about tasks and candidates.

    Attributes:
        configured: Number of tasks; None: as many as the user's iterator yields.
        hold_out: How many of them are held out.
        candidates: Candidates that a certificate from the tasks of the search has to pay for.
        notes: What the user should know about certificates for this config.
    """

    configured: int | None
    hold_out: int
    candidates: int
    notes: tuple[str, ...]


def planned_race(config: Config, space: SearchSpace) -> PlannedRace:
    """Count tasks and candidates, and say which certificates are to be had.

    Raises:
        HypertuneError: The tasks cannot be found.
    """
    notes = [
        "the theory is about one hyperparameter and, for networks, about the global optimum of the training objective; "
        f"this config searches {len(space)} and trains by gradient steps, so its rows are no statement about it"
    ]
    configured: int | None = 1
    hold_out = 0
    racing = config.sampler.name == "data_driven"
    candidates = int(config.sampler.options.get("candidates", 16)) if racing else config.study.n_trials or 1
    if config.tasks is None:
        notes.append("one task certifies nothing about others; configure `tasks`")
    else:
        source = open_tasks(config.tasks, source_folder(config), seed=config.study.seed)
        configured, hold_out = source.total, config.tasks.hold_out
    if not racing:
        notes.append("its sampler proposes candidates after looking at the tasks: only the hold-out row applies")
    elif config.sampler.options.get("refinements") != 0:
        notes.append("candidates beyond the design are proposed after looking at the tasks: for them, only hold-out")
    if config.tasks is not None and hold_out == 0:
        notes.append("no task is held out; add tasks.hold_out to certify any winner")
    return PlannedRace(configured, hold_out, candidates, tuple(notes))


def _means(done: list[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for metrics in done for name in metrics)
    return {name: float(np.mean([metrics[name] for metrics in done if name in metrics])) for name in names}
