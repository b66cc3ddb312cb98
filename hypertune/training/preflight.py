"""Try a family on a task before any trial is spent on a combination that cannot work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hypertune.errors import FamilyError, HypertuneError, TaskError
from hypertune.families.contract import Family, build_model
from hypertune.records import Params
from hypertune.tasks.contract import Task
from hypertune.training.batches import first_batch
from hypertune.training.devices import resolve_device
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.losses import example_losses
from hypertune.training.optimizers import make_optimizer
from hypertune.training.precision import Precision
from hypertune.training.settings import TrainingSettings

__all__ = ["check_model"]


def check_model(family: Family, task: Task, params_list: Sequence[Params], settings: TrainingSettings) -> None:
    """Build the model of each configuration and run two training examples through it, on the CPU.

    Outputs are ``(2, output_size)``, or ``(2, output_size, ...)`` for a task whose loss averages the further axes.
    torch's global random state is left as it was.

    Args:
        family: The model family.
        task: The task.
        params_list: Configurations to try.
        settings: Device and precision must be available, and the training hyperparameters in range.

    Raises:
        FamilyError: A model does not build, does not run, or its outputs have the wrong shape or are not finite.
        TaskError: The examples do not have the shape the task declares, or the loss is not one value per example.
        TrialError: A training hyperparameter is out of range or does not apply to the task.
        ConfigError: The device or precision is not to be had.
    """
    Precision(settings.dtype, resolve_device(settings.device))
    x, y = first_batch(task.train, batch_size=2)
    if tuple(x.shape[1:]) != tuple(task.spec.input_shape):
        raise TaskError(
            "the examples do not have the declared shape",
            where="task.input_shape",
            given=f"{tuple(task.spec.input_shape)} declared, {tuple(x.shape[1:])} in the training split",
            fix="declare the shape of one example without the batch axis",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for params in params_list:
            hyperparameters = TrainingHyperparameters.from_params(params, task.spec, batch_size=settings.batch_size)
            model = build_model(family, params, task.spec)
            _check_weights(family, params, model)
            make_optimizer(model.parameters(), hyperparameters)
            outputs = _outputs(family, params, model, x)
            _check_outputs(family, params, task, len(x), outputs)
            _check_loss(task, params, outputs, y)


def _check_weights(family: Family, params: Params, model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        if is_lazy(weight):
            raise FamilyError(
                f"family {family.name!r} builds a lazy module; parameter {name!r} has no shape yet",
                where="family",
                given=dict(params),
                fix="give its size, from task.input_shape",
            )


def _outputs(family: Family, params: Params, model: nn.Module, x: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            outputs: Tensor = model.eval()(x)
    except HypertuneError:
        raise
    except Exception as error:
        raise FamilyError(
            f"family {family.name!r} does not run on inputs of shape {tuple(x.shape)}: {type(error).__name__}: {error}",
            where="family",
            given=dict(params),
            fix="build the model from task.input_shape, and narrow the space to what fits it",
        ) from error
    return outputs


def _check_outputs(family: Family, params: Params, task: Task, batch: int, outputs: object) -> None:
    expected = f"shape ({batch}, {task.spec.output_size})"
    if not isinstance(outputs, Tensor) or outputs.shape[:2] != (batch, task.spec.output_size):
        raise FamilyError(
            f"family {family.name!r} gives outputs of the wrong shape with params {dict(params)}",
            where="family",
            given=f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else outputs,
            expected=expected,
            fix="end the model with task.output_size outputs",
        )
    if not outputs.isfinite().all():
        raise FamilyError(
            f"family {family.name!r} gives outputs that are not finite before any training",
            where="family",
            given=dict(params),
            expected="finite outputs",
            fix="check the initialisation, or narrow the space",
        )


def _check_loss(task: Task, params: Params, outputs: Tensor, y: Tensor) -> None:
    try:
        losses = example_losses(task.loss, outputs, y)
    except HypertuneError:
        raise
    except Exception as error:
        raise TaskError(
            f"the loss does not run on outputs of shape {tuple(outputs.shape)}: {type(error).__name__}: {error}",
            where="task.loss",
            given=f"targets of shape {tuple(y.shape)}, {y.dtype}",
            expected="loss(outputs, targets) -> one loss per example",
            fix="make targets and loss fit",
        ) from error
    if not losses.isfinite().all():
        raise TaskError(
            f"the loss is not finite before any training, with params {dict(params)}",
            where="task.loss",
            given=losses.tolist(),
            fix="look for NaN or infinite targets",
        )
