"""Train a family on a task: one trial from its params to its result."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

import torch

from hypertune.errors import HypertuneError, TaskError, TrialError, did_you_mean
from hypertune.families.contract import Family
from hypertune.records import EXAMPLES, STANDARD_ERROR, TRIAL_STATE, Cost, Report, TrialResult
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task
from hypertune.training.assembly import Assembly, assemble
from hypertune.training.batches import make_batches, order_state, set_order_state
from hypertune.training.checkpoint import copy_weights, save_checkpoint
from hypertune.training.devices import resolve_device
from hypertune.training.divergence import LossMonitor, NonFiniteLoss, diverged
from hypertune.training.early_stopping import EarlyStopping
from hypertune.training.evaluate import evaluate
from hypertune.training.precision import Precision
from hypertune.training.seeds import derive_seed, deterministic_algorithms, seed_everything
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial, TrialPruned
from hypertune.training.trial_state import load_state, random_state, save_state, set_random_state

__all__ = ["fit", "metric_names"]

_BEST, _SCHEDULE = "best.pt", "schedule.csv"


def metric_names(task: Task) -> tuple[str, ...]:
    """Return the names of all metrics that `fit` reports after each epoch and that a study can select on.

    Raises:
        TaskError: One of the task's metrics is called ``loss``, which is taken.
    """
    if "loss" in task.metrics:
        raise TaskError("the name is taken by the task's loss", where="task.metrics.loss", fix="rename the metric")
    return ("train/loss", "val/loss", *(f"val/{name}" for name in task.metrics))


def fit(
    trial: Trial, family: Family, task: Task, settings: TrainingSettings, *, space: SearchSpace | None = None
) -> TrialResult:
    """Train one configuration and return its best epoch.

    After each epoch ``train/loss`` (what was minimized: augmented inputs, smoothed labels, mean over the epoch),
    ``val/loss`` and ``val/<metric>`` are reported. The weights of the best epoch by the study metric are kept in
    memory; at the end they are written to ``best.pt`` in the trial's folder, and the test split is evaluated once, on
    them, as is the part of the validation split that ``settings.reserve`` keeps from every choice. A trial that returns
    no result leaves no checkpoint.

    A self-tuning trial (``settings.self_tuning``) tunes on one part of the validation split and is evaluated and
    selected on the other; its reports carry the current hyperparameters, and ``schedule.csv`` has them by step.

    Weight initialisation, the order of examples, augmentation, and what the model draws while it trains (dropout) are
    random streams of their own, derived from the trial's seed.

    With ``settings.state_seconds``, the whole state of the trial is written to ``state.pt`` after an epoch when that
    much time has passed; a trial that finds one in its folder continues from it, on the CPU bit by bit.

    Args:
        trial: The trial; its params are read by the family and by the training loop.
        family: The model family.
        task: Data, loss and metrics.
        settings: What all trials have in common.
        space: The search space, for a self-tuning trial.

    Returns:
        The study metric at the best epoch as ``value``; that epoch's metrics, the test metrics, the number of examples
        and the standard errors of the means over them, and ``best_epoch`` as ``metrics``; the self-tuned
        hyperparameters at that epoch as ``tuned``; cost; path of the checkpoint.

    Raises:
        TrialPruned: The pruner wants it, or the loss became NaN or infinite after the first report.
        Diverged: The loss became NaN or infinite before the first report.
        TrialError: A hyperparameter is out of range, the study metric is not reported, or the checkpoint cannot be
            written.
        SpaceError: A hyperparameter cannot be tuned inside a trial.
        FamilyError: The model does not build.
        TaskError: The data or the loss are wrong.
        ConfigError: The device or precision is not to be had.
    """
    _check_metric(settings.metric, task)
    try:
        with deterministic_algorithms(settings.deterministic):
            return _Fit(trial, family, task, settings, space).run()
    except BaseException as error:
        # Whatever else ends a trial may be a kill, after which it is repeated from its state.
        over = (_BEST, TRIAL_STATE) if isinstance(error, TrialPruned | HypertuneError) else (_BEST,)
        with contextlib.suppress(OSError):
            for name in over:
                (trial.folder / name).unlink(missing_ok=True)
        if isinstance(error, torch.OutOfMemoryError):
            raise TrialError(
                "the device is out of memory",
                where="trial",
                given=dict(trial.params),
                fix="lower trial.batch_size, or search smaller models",
            ) from error
        raise


class _Fit:
    """One trial's training, and the state it could be stopped and continued at: between two epochs."""

    def __init__(
        self, trial: Trial, family: Family, task: Task, settings: TrainingSettings, space: SearchSpace | None
    ) -> None:
        self._started = self._written = time.perf_counter()
        self._trial, self._family, self._task, self._settings, self._space = trial, family, task, settings, space
        self._device = resolve_device(settings.device, trial.worker)
        self._begin()
        state = load_state(trial.folder / TRIAL_STATE, self._device)
        if state is not None and state.get("identity") == self._identity():
            try:
                self._continue(state)
            except (HypertuneError, AttributeError, KeyError, RuntimeError, TypeError, ValueError):
                self._begin()  # the state is of another model or version, and may have been taken in by half
        for report in self._reports:  # the interrupted trial's record ends where it was interrupted
            trial.report(report.step, report.metrics, report.tuned)

    def _begin(self) -> None:
        trial, settings = self._trial, self._settings
        self._precision = Precision(settings.dtype, self._device)
        self._parts: Assembly = assemble(
            trial.params,
            trial.seed,
            self._family,
            self._task,
            settings,
            device=self._device,
            precision=self._precision,
            space=self._space,
        )
        self._stopping = EarlyStopping(settings.direction, settings.patience)
        self._best_weights: dict[str, Any] = {}
        self._best_metrics: dict[str, float] = {}
        self._spread: dict[str, float] = {}
        self._best_spread: dict[str, float] = {}
        self._best_tuned: dict[str, float] = {}
        self._reports: list[Report] = []
        self._epochs, self._steps = 0, 0
        seed_everything(derive_seed(trial.seed, "training"))

    def run(self) -> TrialResult:
        for epoch in range(self._epochs, self._settings.epochs):
            if self._stopping.should_stop:
                break
            metrics = self._epoch(epoch)
            self._report(epoch, metrics)
            self._save()
        return self._result()

    def _epoch(self, epoch: int) -> dict[str, float]:
        learner = self._parts.learner
        lr = learner.optimizers[0].param_groups[0]["lr"]
        monitor = LossMonitor(self._device, self._steps)
        try:
            learner.start_epoch(epoch)
            learner.module.train()
            for x, y in self._parts.train:
                loss = learner.step(x, y)
                monitor.add(loss, len(x))
                self._steps += 1
            metrics = {"train/loss": monitor.mean()}
            for schedule in self._parts.schedules:
                schedule.step()
            metrics |= self._evaluated("val", learner.module, self._parts.val)
            self._spread, metrics = _divided(metrics)
            if not math.isfinite(metrics["val/loss"]):
                raise NonFiniteLoss("validation", metrics["val/loss"], self._steps)
        except NonFiniteLoss as error:
            raise diverged(error, epoch=epoch, lr=lr, cost=self._cost()) from None
        self._epochs = epoch + 1
        return metrics | learner.metrics()

    def _report(self, epoch: int, metrics: dict[str, float]) -> None:
        tuned = {name: float(value) for name, value in self._parts.learner.tuned().items()}  # type: ignore[arg-type]
        value = metrics[self._settings.metric]
        self._trial.report(epoch, metrics, tuned)
        self._reports.append(Report(epoch, metrics, tuned))
        if self._trial.should_prune():
            reason = f"pruned in epoch {epoch}: {self._settings.metric} {value:.4g}"
            raise TrialPruned(reason, self._cost())
        if self._stopping.update(epoch, value):
            # In memory: a file for each better epoch took a tenth of the time of a small network's training.
            self._best_weights = copy_weights(self._parts.learner.plain_state_dict())
            self._best_metrics, self._best_spread, self._best_tuned = metrics, self._spread, tuned

    def _result(self) -> TrialResult:
        best_epoch = self._stopping.best_epoch
        if best_epoch is None:
            raise TrialError(
                "the study metric was never a finite number", where="study.metric", given=self._settings.metric
            )
        trial, model = self._trial, self._parts.model
        model.load_state_dict(self._best_weights)
        checkpoint = trial.folder / _BEST
        save_checkpoint(
            checkpoint,
            model,
            params={**trial.params, **_like(self._best_tuned, trial.params)},
            epoch=best_epoch,
            metrics=self._best_metrics,
        )
        metrics = self._best_metrics | self._best_spread
        for split, examples in (("reserved", self._parts.reserved), ("test", self._task.test)):
            if examples is not None:
                batches = make_batches(examples, batch_size=self._parts.evaluation_batch, device=self._device)
                metrics |= self._evaluated(split, model, batches)
        if self._parts.schedule is not None:
            self._parts.schedule.save(trial.folder / _SCHEDULE)
        with contextlib.suppress(OSError):
            (trial.folder / TRIAL_STATE).unlink(missing_ok=True)
        return TrialResult(
            value=self._stopping.best_value,
            metrics={**metrics, "best_epoch": float(best_epoch)},
            tuned=self._best_tuned,
            cost=self._cost(),
            checkpoint=str(checkpoint),
        )

    def _evaluated(self, split: str, module: torch.nn.Module, batches: Any) -> dict[str, float]:
        results = evaluate(module, batches, self._task, self._precision, spread=True)
        return {f"{split}/{name}": value for name, value in results.items()}

    def _cost(self) -> Cost:
        return Cost(self._epochs, self._steps, time.perf_counter() - self._started)

    def _save(self) -> None:
        now = time.perf_counter()
        if self._settings.state_seconds is None or now - self._written < self._settings.state_seconds:
            return
        save_state(
            self._trial.folder / TRIAL_STATE,
            {
                "identity": self._identity(),
                "learner": self._parts.learner.state_dict(),
                "schedules": [schedule.state_dict() for schedule in self._parts.schedules],
                "precision": self._precision.state_dict(),
                "order": order_state(self._parts.train),
                "random": random_state(),
                "stopping": vars(self._stopping).copy(),
                "best": (self._best_weights, self._best_metrics, self._best_spread, self._best_tuned),
                "reports": self._reports,
                "epochs": self._epochs,
                "steps": self._steps,
                "seconds": now - self._started,
            },
        )
        self._written = time.perf_counter()

    def _continue(self, state: dict[str, Any]) -> None:
        self._parts.learner.load_state_dict(state["learner"])
        for schedule, content in zip(self._parts.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(content)
        self._precision.load_state_dict(state["precision"])
        set_order_state(self._parts.train, state["order"])
        # How long to wait for a better epoch may have changed.
        vars(self._stopping).update(state["stopping"], _patience=self._settings.patience)
        self._best_weights, self._best_metrics, self._best_spread, self._best_tuned = state["best"]
        self._epochs, self._steps = state["epochs"], state["steps"]
        self._reports = state["reports"]
        set_random_state(state["random"])
        self._started -= state["seconds"]

    def _identity(self) -> dict[str, Any]:
        """Return what a state must agree on to continue it; how long training goes on may change."""
        settings = self._settings
        return {
            "params": dict(self._trial.params),
            "seed": self._trial.seed,
            **{name: getattr(settings, name) for name in ("metric", "direction", "dtype", "batch_size", "self_tuning")},
        }


def _divided(metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Divide what says how far means can be trusted, which belongs to the end of a trial, from what each epoch reports.

    Returns:
        The spread, and the rest.
    """
    spread = {n: value for n, value in metrics.items() if n.endswith((f"/{EXAMPLES}", STANDARD_ERROR))}
    return spread, {name: value for name, value in metrics.items() if name not in spread}


def _like(tuned: Mapping[str, float], params: Mapping[str, Any]) -> dict[str, float | int]:
    """Return tuned values as whole numbers where the start was one."""
    return {name: int(value) if isinstance(params.get(name), int) else value for name, value in tuned.items()}


def _check_metric(metric: str, task: Task) -> None:
    known = metric_names(task)
    if metric not in known:
        raise TrialError(
            "the task reports no such metric",
            where="study.metric",
            given=metric,
            expected=", ".join(known),
            fix=did_you_mean(metric, known),
        )
