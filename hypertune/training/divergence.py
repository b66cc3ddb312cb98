"""Watch the training loss: its mean over an epoch, and the step at which it stopped being a number."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hypertune.errors import TaskError
from hypertune.records import Cost
from hypertune.training.trial import Diverged, TrialPruned

__all__ = ["LossMonitor", "NonFiniteLoss", "diverged"]

# Reading a loss waits for the device: at once on the CPU, where it costs nothing, every so many steps elsewhere.
_READ_EVERY = 16


class NonFiniteLoss(Exception):
    """A loss is NaN or infinite.

    Args:
        split: Split of the loss: ``training`` or ``validation``.
        loss: The loss.
        step: Gradient steps made before it, this trial.
    """

    def __init__(self, split: str, loss: float, step: int) -> None:
        super().__init__(f"the {split} loss is {loss} after {step} gradient steps")
        self.split = split
        self.loss = loss
        self.step = step


class LossMonitor:
    """Mean loss over the examples of one epoch.

    Args:
        device: Where the losses are.
        step: Gradient steps made before the epoch.
    """

    def __init__(self, device: torch.device, step: int) -> None:
        self._every = 1 if device.type == "cpu" else _READ_EVERY
        self._step = step
        self._waiting: list[tuple[Tensor, int]] = []
        self._total = 0.0
        self._examples = 0

    def add(self, loss: Tensor, examples: int) -> None:
        """Take in the mean loss of a batch, as it was before the batch's gradient step.

        Raises:
            NonFiniteLoss: It, or one of the last few off the CPU, is NaN or infinite.
        """
        self._waiting.append((loss.detach(), examples))
        if len(self._waiting) >= self._every:
            self._read()

    def mean(self) -> float:
        """Return the mean over all examples so far.

        Raises:
            NonFiniteLoss: A loss that was not read yet is NaN or infinite.
            TaskError: There were no examples.
        """
        self._read()
        if self._examples == 0:
            raise TaskError("the training split gave no batch", where="task.train", fix="make it larger")
        return self._total / self._examples

    def _read(self) -> None:
        if not self._waiting:
            return
        losses = torch.stack([loss for loss, _ in self._waiting]).tolist()
        for value, (_, examples) in zip(losses, self._waiting, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLoss("training", value, self._step)
            self._total += value * examples
            self._examples += examples
            self._step += 1
        self._waiting.clear()


def diverged(error: NonFiniteLoss, *, epoch: int, lr: float, cost: Cost) -> Diverged | TrialPruned:
    """Return what a trial that diverged raises.

    A trial that reported before is pruned: its last report ranks it, and the sampler learns from it. One that never
    reported has no value to learn from and fails.

    Args:
        error: What happened.
        epoch: Epoch in which it happened, from 0; the earlier ones were reported.
        lr: Learning rate of that epoch.
        cost: What the trial cost until then.
    """
    problem = f"the {error.split} loss is {error.loss} in epoch {epoch} after {error.step} gradient steps, lr {lr:.4g}"
    if epoch > 0:
        return TrialPruned(f"diverged: {problem}", cost)
    failure = Diverged(problem, where="trial", fix="search lower values of lr, or set trial.grad_clip")
    failure.cost = cost
    return failure
