"""Train plainly along a schedule of hyperparameters that another trial discovered.

References:
    [MacKay19] MacKay, Vicol, Lorraine, Duvenaud, Grosse. Self-Tuning Networks. ICLR 2019, arXiv 1903.03088; section 4.2
        asks whether the schedule or the final values make the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hypertune.effects.pipeline import Effects
from hypertune.hypernets.attach import ResponseModel
from hypertune.records import ParamValue
from hypertune.tasks.contract import Loss
from hypertune.training.precision import Precision
from hypertune.training.schedule import Schedule

__all__ = ["ReplayLearner"]


class ReplayLearner:
    """Gradient steps on the training loss at the values that a schedule has for each step.

    Args:
        model: The model; its layers stay plain, only the hyperparameters that act inside it are used.
        loss: Loss per example.
        optimizer: Optimizer of the plain weights.
        schedule: The values by gradient step.
        effects: Effects of the hyperparameters that act outside the model.
        constants: Values of effects that are not in the schedule.
        precision: Precision of the steps.
        grad_clip: Largest global L2 norm of the gradient; None: not clipped.
    """

    def __init__(
        self,
        model: ResponseModel,
        loss: Loss,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        effects: Effects,
        constants: Mapping[str, float],
        precision: Precision,
        grad_clip: float | None,
    ) -> None:
        self._model = model
        self._loss = loss
        self._optimizer = optimizer
        self._schedule = schedule
        self._effects = effects
        self._constants = dict(constants)
        self._precision = precision
        self._grad_clip = grad_clip
        self._weights = list(model.general_parameters())
        self._steps = 0

    @property
    def module(self) -> nn.Module:
        """The model with its plain weights."""
        return self._model

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizer of the weights."""
        return (self._optimizer,)

    def start_epoch(self, epoch: int) -> None:
        """Do nothing: the schedule goes by steps."""

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one gradient step at the schedule's values; see `Learner.step`."""
        values = self._schedule.at(self._steps)
        outside = {**self._constants, **{name: values[name] for name in self._model.bindings.outside}}
        inside = {name: torch.tensor([value], device=x.device) for name, value in values.items()}
        batch = self._effects.apply(x, y, outside)
        with self._precision.autocast():
            outputs, penalty = self._model.outputs_and_penalties(batch.x, None, inside)
        losses = self._effects.example_losses(self._loss, outputs.float(), batch, outside)
        loss = (losses if penalty is None else losses + penalty).mean()
        self._precision.step(loss, self._optimizer, self._weights, self._grad_clip)
        self._steps += 1
        return loss.detach()

    def tuned(self) -> dict[str, ParamValue]:
        """Return the schedule's values for the next step."""
        return dict(self._schedule.at(self._steps))

    def metrics(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def plain_state_dict(self) -> dict[str, Any]:
        """Return the plain model's state dict."""
        return self._model.plain_state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of model, optimizer, random streams and counter."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "effects": self._effects.state_dict(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._effects.load_state_dict(state["effects"])
        self._steps = state["steps"]
