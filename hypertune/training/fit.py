"""Train a family on a task: one trial from its params to its result."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import torch

from hypertune.errors import TaskError, TrialError, did_you_mean
from hypertune.families.contract import Family, build_model
from hypertune.records import Cost, TrialResult
from hypertune.tasks.contract import Task
from hypertune.training.augment import Augment
from hypertune.training.batches import make_batches
from hypertune.training.checkpoint import copy_weights, save_checkpoint
from hypertune.training.devices import resolve_device
from hypertune.training.divergence import LossMonitor, NonFiniteLoss, diverged
from hypertune.training.early_stopping import EarlyStopping
from hypertune.training.evaluate import evaluate
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.losses import example_losses, smooth_labels
from hypertune.training.optimizers import make_optimizer, make_schedule
from hypertune.training.precision import Precision
from hypertune.training.seeds import derive_seed, deterministic_algorithms, seed_everything
from hypertune.training.settings import TrainingSettings
from hypertune.training.trial import Trial, TrialPruned

__all__ = ["fit", "metric_names"]

_EVALUATION_BATCH = 256


def metric_names(task: Task) -> tuple[str, ...]:
    """Return the names of all metrics that `fit` reports after each epoch.

    Raises:
        TaskError: One of the task's metrics is called ``loss``, which is taken.
    """
    if "loss" in task.metrics:
        raise TaskError("the name is taken by the task's loss", where="task.metrics.loss", fix="rename the metric")
    return ("train/loss", "val/loss", *(f"val/{name}" for name in task.metrics))


def fit(trial: Trial, family: Family, task: Task, settings: TrainingSettings) -> TrialResult:
    """Train one configuration and return its best epoch.

    After each epoch ``train/loss`` (what was minimized: augmented inputs, smoothed labels, mean over the epoch),
    ``val/loss`` and ``val/<metric>`` are reported. The weights of the best epoch by the study metric are kept in
    memory; at the end they are written to ``best.pt`` in the trial's folder, and the test split is evaluated once, on
    them. A trial that returns no result leaves no checkpoint.

    Weight initialisation, the order of examples, augmentation, and what the model draws while it trains (dropout) are
    random streams of their own, derived from the trial's seed.

    Args:
        trial: The trial; its params are read by the family and by the training loop.
        family: The model family.
        task: Data, loss and metrics.
        settings: What all trials have in common.

    Returns:
        The study metric at the best epoch as ``value``; that epoch's metrics, the test metrics and ``best_epoch`` as
        ``metrics``; cost; path of the checkpoint.

    Raises:
        TrialPruned: The pruner wants it, or the loss became NaN or infinite after the first report.
        Diverged: The loss became NaN or infinite before the first report.
        TrialError: A hyperparameter is out of range, the study metric is not reported, or the checkpoint cannot be
            written.
        FamilyError: The model does not build.
        TaskError: The data or the loss are wrong.
        ConfigError: The device or precision is not to be had.
    """
    _check_metric(settings.metric, task)
    try:
        with deterministic_algorithms(settings.deterministic):
            return _fit(trial, family, task, settings)
    except BaseException as error:
        with contextlib.suppress(OSError):
            (trial.folder / "best.pt").unlink(missing_ok=True)
        if isinstance(error, torch.OutOfMemoryError):
            raise TrialError(
                "the device is out of memory",
                where="trial",
                given=dict(trial.params),
                fix="lower trial.batch_size, or search smaller models",
            ) from error
        raise


def _fit(trial: Trial, family: Family, task: Task, settings: TrainingSettings) -> TrialResult:
    started = time.perf_counter()
    hyperparameters = TrainingHyperparameters.from_params(trial.params, task.spec, batch_size=settings.batch_size)
    device = resolve_device(settings.device, trial.worker)
    precision = Precision(settings.dtype, device)
    checkpoint = trial.folder / "best.pt"

    seed_everything(derive_seed(trial.seed, "model"))
    model = build_model(family, trial.params, task.spec).to(device)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = make_optimizer(weights, hyperparameters)
    schedule = make_schedule(optimizer, hyperparameters, epochs=settings.epochs)
    train_loss = smooth_labels(task.loss, hyperparameters.label_smoothing)
    augment = Augment(hyperparameters, seed=derive_seed(trial.seed, "augment"), device=device)
    train = make_batches(
        task.train,
        batch_size=hyperparameters.batch_size,
        device=device,
        shuffle_seed=derive_seed(trial.seed, "shuffle"),
        drop_single=True,
    )
    evaluation_batch = max(hyperparameters.batch_size, _EVALUATION_BATCH)
    val = make_batches(task.val, batch_size=evaluation_batch, device=device)
    stopping = EarlyStopping(settings.direction, settings.patience)
    best_weights: dict[str, Any] = {}
    best_metrics: dict[str, float] = {}
    epochs, steps = 0, 0

    seed_everything(derive_seed(trial.seed, "training"))
    for epoch in range(settings.epochs):
        lr = optimizer.param_groups[0]["lr"]
        monitor = LossMonitor(device, steps)
        try:
            model.train()
            for x, y in train:
                outputs = precision.forward(model, augment(x))
                loss = example_losses(train_loss, outputs, y).mean()
                monitor.add(loss, len(x))
                precision.step(loss, optimizer, weights, settings.grad_clip)
                steps += 1
            metrics = {"train/loss": monitor.mean()}
            schedule.step()
            metrics |= {f"val/{name}": value for name, value in evaluate(model, val, task, precision).items()}
            if not math.isfinite(metrics["val/loss"]):
                raise NonFiniteLoss("validation", metrics["val/loss"], steps)
        except NonFiniteLoss as error:
            cost = Cost(epochs, steps, time.perf_counter() - started)
            raise diverged(error, epoch=epoch, lr=lr, cost=cost) from None
        epochs += 1

        trial.report(epoch, metrics)
        if trial.should_prune():
            reason = f"pruned in epoch {epoch}: {settings.metric} {metrics[settings.metric]:.4g}"
            raise TrialPruned(reason, Cost(epochs, steps, time.perf_counter() - started))
        if stopping.update(epoch, metrics[settings.metric]):
            # In memory: a file for each better epoch took a tenth of the time of a small network's training.
            best_weights, best_metrics = copy_weights(model), metrics
        if stopping.should_stop:
            break

    if stopping.best_epoch is None:
        raise TrialError("the study metric was never a finite number", where="study.metric", given=settings.metric)
    model.load_state_dict(best_weights)
    save_checkpoint(checkpoint, model, params=trial.params, epoch=stopping.best_epoch, metrics=best_metrics)
    if task.test is not None:
        test = make_batches(task.test, batch_size=evaluation_batch, device=device)
        best_metrics |= {f"test/{name}": value for name, value in evaluate(model, test, task, precision).items()}
    return TrialResult(
        value=stopping.best_value,
        metrics={**best_metrics, "best_epoch": float(stopping.best_epoch)},
        cost=Cost(epochs, steps, time.perf_counter() - started),
        checkpoint=str(checkpoint),
    )


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
