"""What makes the steps of one trial: a plain optimizer, or a self-tuning algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from hypertune.auxiliary_loss import auxiliary_loss
from hypertune.effects.pipeline import Effects
from hypertune.records import ParamValue
from hypertune.tasks.contract import Loss
from hypertune.training.precision import Precision

__all__ = ["Learner", "PlainLearner"]


class Learner(Protocol):
    """Trains a model step by step; what the training loop is written against."""

    @property
    def module(self) -> nn.Module:
        """Maps inputs to outputs as the deployed model would; put in training mode to train."""

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """Optimizers whose learning rate follows the trial's schedule, that of the weights first."""

    def start_epoch(self, epoch: int) -> None:
        """Tell that an epoch begins, from 0."""

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train on one batch, ``(batch, ...)`` each, and return the mean loss, detached."""

    def tuned(self) -> dict[str, ParamValue]:
        """Return the current value of each hyperparameter that changes while training."""

    def metrics(self) -> dict[str, float]:
        """Return what to report of the epoch beside losses."""

    def plain_state_dict(self) -> dict[str, Any]:
        """Return the state dict of the plain model as it would be deployed now."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training continues, but torch's global random state."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""


class PlainLearner:
    """Gradient steps on the training loss at fixed hyperparameters.

    Args:
        model: The model.
        loss: Loss per example.
        optimizer: Optimizer of its weights.
        effects: Effects of the hyperparameters on inputs, targets and losses.
        values: Values of these hyperparameters.
        precision: Precision of the steps.
        grad_clip: Largest global L2 norm of the gradient; None: not clipped.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        effects: Effects,
        values: Mapping[str, float],
        precision: Precision,
        grad_clip: float | None,
    ) -> None:
        self._model = model
        self._loss = loss
        self._optimizer = optimizer
        self._effects = effects
        self._values = dict(values)
        self._precision = precision
        self._grad_clip = grad_clip
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]

    @property
    def module(self) -> nn.Module:
        """The model itself."""
        return self._model

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """The optimizer of the weights."""
        return (self._optimizer,)

    def start_epoch(self, epoch: int) -> None:
        """Do nothing."""

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one gradient step; see `Learner.step`."""
        batch = self._effects.apply(x, y, self._values)
        outputs = self._precision.forward(self._model, batch.x)
        loss = self._effects.example_losses(self._loss, outputs, batch, self._values).mean()
        auxiliary = auxiliary_loss(self._model)
        if auxiliary is not None:
            loss = loss + auxiliary
        self._precision.step(loss, self._optimizer, self._weights, self._grad_clip)
        return loss.detach()

    def tuned(self) -> dict[str, ParamValue]:
        """Return nothing: the hyperparameters are fixed."""
        return {}

    def metrics(self) -> dict[str, float]:
        """Return nothing."""
        return {}

    def plain_state_dict(self) -> dict[str, Any]:
        """Return the model's state dict."""
        return self._model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of model, optimizer and random streams."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "effects": self._effects.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._effects.load_state_dict(state["effects"])
