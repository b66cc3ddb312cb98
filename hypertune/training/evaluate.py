"""Loss and metrics of a model over a whole split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from hypertune.errors import HypertuneError, TaskError
from hypertune.records import EXAMPLES, STANDARD_ERROR
from hypertune.tasks.contract import Metric, Task
from hypertune.training.batches import Batch
from hypertune.training.losses import example_losses
from hypertune.training.precision import Precision

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, precision: Precision, *, spread: bool = False
) -> dict[str, float]:
    """Evaluate a model in evaluation mode, without gradients.

    Args:
        model: The model; it is left in evaluation mode.
        batches: The split.
        task: Whose loss and metrics to compute.
        precision: Precision of the forward pass.
        spread: Whether to tell how far each mean can be trusted.

    Returns:
        ``loss``, the mean of the task's loss over the examples, and each of the task's metrics. With ``spread``, also
        ``examples``, their number, and ``<name>_standard_error`` of the loss and of each metric that knows its values
        per example; of two examples or more.

    Raises:
        TaskError: The split is empty, the loss has the wrong shape, or a metric fails or is no number.
    """
    losses: list[Tensor] = []
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    model.eval()
    # no_grad and not inference_mode: a module may keep what it computed here for a later training step.
    with torch.no_grad():
        for x, y in batches:
            output = precision.forward(model, x)
            losses.append(example_losses(task.loss, output, y))
            if task.metrics:
                outputs.append(output)
                targets.append(y)
        if not losses:
            raise TaskError("the split has no examples", where="task", fix="make it larger")
        # float64 on the CPU: a mean over many examples, on devices without float64 too.
        per_example = {"loss": torch.cat(losses).cpu().double()}
        results = {"loss": per_example["loss"].mean().item()}
        if task.metrics:
            output, target = torch.cat(outputs), torch.cat(targets)
            results.update({name: _value(name, metric, output, target) for name, metric in task.metrics.items()})
            if spread:
                of_metrics = {name: getattr(metric, "per_example", None) for name, metric in task.metrics.items()}
                per_example |= {name: values(output, target) for name, values in of_metrics.items() if values}
    return results | _spread(per_example) if spread else results


def _spread(per_example: Mapping[str, Tensor]) -> dict[str, float]:
    size = len(per_example["loss"])
    errors = {
        f"{name}{STANDARD_ERROR}": values.cpu().double().std().item() / math.sqrt(size)
        for name, values in per_example.items()
        if size > 1
    }
    return {EXAMPLES: float(size), **errors}


def _value(name: str, metric: Metric, outputs: Tensor, targets: Tensor) -> float:
    try:
        return float(metric(outputs, targets))
    except HypertuneError:
        raise
    except Exception as error:
        raise TaskError(
            f"the metric fails: {type(error).__name__}: {error}",
            where=f"task.metrics.{name}",
            given=f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}",
            expected="metric(outputs, targets) over a whole split -> scalar",
        ) from error
