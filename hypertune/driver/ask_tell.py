"""The loop that drives a study: ask the sampler, hand the trial to the runner, tell the study how it ended."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from optuna.trial import TrialState

from hypertune.driver.attributes import INTERRUPTED, RETRY_OF, SEED, attributes_of
from hypertune.driver.recovery import repeat
from hypertune.driver.study_store import StudyStore
from hypertune.errors import ConfigError, StorageError, did_you_mean
from hypertune.records import (
    TRIAL_STATE,
    Assignment,
    Failed,
    Finished,
    Listener,
    ParamValue,
    Pruned,
    Report,
    Reported,
    Started,
)
from hypertune.runners.contract import Ended, MakeObjective, Runner
from hypertune.space import SearchSpace

__all__ = ["AskTell", "Stop"]

_FLUSH_SECONDS = 0.25
_POLL_SECONDS = 0.25


@dataclass(slots=True)
class Stop:
    """A wish to end, set from a signal handler: ``level`` 1 starts no new trial, 2 stops the running ones too."""

    level: int = 0


@dataclass(slots=True)
class AskTell:
    """One driver's work on one study.

    Attributes:
        store: The study.
        runner: Who runs the trials.
        space: The search space.
        metric: Reported metric that the pruner judges.
        folder: Run folder; trials get their own folders below it.
        emit: Told of every event, before the study is.
        trial_seed: Seed of the trial of a given number.
        n_trials: Finished trials wanted, those the study already holds included; None for no such end.
        deadline: ``time.monotonic()`` after which no trial starts.
        stop: Set from outside to end early.
    """

    store: StudyStore
    runner: Runner
    space: SearchSpace
    metric: str
    folder: Path
    emit: Listener
    trial_seed: Callable[[int], int]
    n_trials: int | None = None
    deadline: float = math.inf
    stop: Stop = field(default_factory=Stop)
    _running: dict[int, float] = field(default_factory=dict)
    _tuned: dict[int, Mapping[str, float]] = field(default_factory=dict)
    _prunes: bool = False
    _judged: bool = False
    _other_metrics: set[str] = field(default_factory=set)
    _to_repeat: list[int] = field(default_factory=list)
    _finished: int = 0
    _flushed: float = 0.0

    def run(self, make_objective: MakeObjective, *, prunes: bool, ready: Callable[[], None] = lambda: None) -> bool:
        """Run trials until enough have finished or something says stop.

        Args:
            make_objective: What the trials run.
            prunes: Whether the study has a pruner that can prune.
            ready: Called once when a worker is ready, before the first trial is asked for.

        Returns:
            Whether the study reached its end; False when it was stopped from outside.

        Raises:
            HypertuneError: The objective cannot be made, or the storage fails.
        """
        self._finished = sum(
            trial.state.is_finished() and not trial.user_attrs.get(INTERRUPTED) for trial in self.store.trials()
        )
        self._prunes = prunes
        try:
            if self._wants_more():
                self.runner.start(make_objective, self._on_report, folder=str(self.folder), prunes=prunes)
                self.runner.check()
            ready()
            self._loop()
        finally:
            self.runner.close()
            with contextlib.suppress(StorageError):  # the journal has it all, should this be what failed
                self.store.flush()
        return self.stop.level == 0

    def _loop(self) -> None:
        while True:
            while self._wants_more() and self.runner.free() > 0:
                self._begin()
            self._flush_if_due()
            if not self._running and not self._wants_more():  # it may want more than there are workers left for
                break
            for ended in self.runner.wait(_POLL_SECONDS):
                self._end(ended)
            if self.stop.level >= 2:
                for ended in self.runner.stop_all():
                    self._end(ended)
        self.store.flush()

    def _wants_more(self) -> bool:
        if self.stop.level or time.monotonic() >= self.deadline or (self.store.exhausted and not self._to_repeat):
            return False
        return self.n_trials is None or self._finished + len(self._running) < self.n_trials

    def _begin(self) -> None:
        if self._to_repeat:  # its machine was lost
            repeat(self.store, self._to_repeat.pop(0))
        trial = self.store.ask(self.space)
        number, attributes = trial.number, trial.user_attrs
        seed = attributes.get(SEED)
        if seed is None:
            seed = self.trial_seed(number)
            trial.set_user_attr(SEED, seed)
        # In the order of the space, whatever order the sampler suggested them in.
        params: dict[str, ParamValue] = {n: trial.params[n] for n in self.space.names if n in trial.params}
        folder = self.folder / "trials" / f"{number:04d}"
        if attributes.get(RETRY_OF) is not None:
            _hand_over(self.folder / "trials" / f"{attributes[RETRY_OF]:04d}", folder)
        assignment = Assignment(number, params, seed, str(folder), attributes.get(RETRY_OF))
        worker = self.runner.submit(assignment)
        self._running[number] = time.monotonic()
        self.emit(Started(number, time.time(), params, seed, worker, attributes.get(RETRY_OF)))

    def _on_report(self, number: int, report: Report) -> bool:
        self.emit(Reported(number, time.time(), report))
        if report.tuned:
            self._tuned[number] = report.tuned
        value = report.metrics.get(self.metric)
        if value is None:
            self._other_metrics.update(report.metrics)
            return False
        self._judged = True
        return self.store.report(number, report.step, value)

    def _end(self, ended: Ended) -> None:
        number, now = ended.number, time.time()
        begun, tuned = self._running.pop(number), self._tuned.pop(number, {})
        cost = ended.cost if ended.cost.seconds else replace(ended.cost, seconds=time.monotonic() - begun)
        end: Finished | Pruned | Failed
        if ended.how == "finished":
            assert ended.result is not None
            result = ended.result if ended.result.cost.seconds else replace(ended.result, cost=cost)
            end, state, value = Finished(number, now, result), TrialState.COMPLETE, result.value
        elif ended.how == "pruned":
            end, state, value = Pruned(number, now, ended.reason, cost, tuned), TrialState.PRUNED, None
        else:
            interrupted = ended.how == "interrupted"
            end, state, value = (
                Failed(number, now, ended.reason, ended.traceback, interrupted, cost),
                TrialState.FAIL,
                None,
            )
        self.emit(end)
        self.store.tell(number, state, value, attributes_of(end))
        if ended.how == "interrupted":
            self._to_repeat.append(number)
        else:
            self._finished += 1
        if ended.how == "finished" and self._prunes and not self._judged:
            raise self._nothing_to_judge()

    def _nothing_to_judge(self) -> ConfigError:
        names = sorted(self._other_metrics)
        return ConfigError(
            "the pruner judges this metric, and a whole trial never reported it",
            where="study.metric",
            given=self.metric,
            expected=f"one of {', '.join(names)}" if names else "trial.report(step, {metric: value}) in the objective",
            fix=did_you_mean(self.metric, names) if names else "report it, or set `pruner: none`",
        )

    def _flush_if_due(self) -> None:
        # Rarely enough that short trials share a transaction, often enough that a dashboard sees running ones.
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.store.flush()
            self._flushed = time.monotonic()


def _hand_over(interrupted: Path, repeated: Path) -> None:
    """Give the saved state of an interrupted trial to the one that repeats it, which then continues from there."""
    state = interrupted / TRIAL_STATE
    if state.exists():
        repeated.mkdir(parents=True, exist_ok=True)
        state.replace(repeated / TRIAL_STATE)
