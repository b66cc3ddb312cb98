"""Train a trial that tunes its hyperparameters online."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hypertune.errors import TaskError
from hypertune.hypernets.contract import BestResponse
from hypertune.records import ParamValue
from hypertune.training.batches import Batch, order_state, set_order_state
from hypertune.training.schedule import Schedule
from hypertune.training.self_tuning_settings import SelfTuningSettings

__all__ = ["SelfTuningLearner"]


class SelfTuningLearner:
    """Weight steps on the training split alternate with tune steps on the tuning split ([MacKay19] algorithm 1).

    Args:
        algorithm: The self-tuning algorithm with its model.
        tuning: Batches of the tuning split; each iteration is one pass in a new order.
        settings: When to tune.
        epochs: Length of the trial, which the warm-up is a share of.
        schedule: Takes in the values from each tune step on.
    """

    def __init__(
        self,
        algorithm: BestResponse,
        tuning: Iterable[Batch],
        settings: SelfTuningSettings,
        *,
        epochs: int,
        schedule: Schedule,
    ) -> None:
        self.algorithm = algorithm
        self.schedule = schedule
        self._tuning = _Endless(tuning)
        self._settings = settings
        self._warmup = min(max(1, round(settings.warmup * epochs)), epochs - 1) if settings.warmup else 0
        self._epoch = 0
        self._steps = 0
        self._losses: list[Tensor] = []
        self._deployed = _Deployed(algorithm)
        schedule.record(0, _floats(algorithm.tuned()))

    @property
    def module(self) -> nn.Module:
        """The model at the best response to the current hyperparameters."""
        return self._deployed

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """Optimizers of the weights and of the response."""
        return (self.algorithm.weight_optimizer, self.algorithm.response_optimizer)

    def start_epoch(self, epoch: int) -> None:
        """Tell that an epoch begins: tuning starts after the warm-up."""
        self._epoch = epoch
        self._losses = []

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """Make a weight step, and tune steps when it is their turn; see `Learner.step`."""
        loss = self.algorithm.weight_step(x, y)
        self._steps += 1
        if self._epoch >= self._warmup and self._steps % self._settings.train_steps == 0:
            for _ in range(self._settings.tune_steps):
                self._losses.append(self.algorithm.tune_step(*next(self._tuning)))
            self.schedule.record(self._steps, _floats(self.algorithm.tuned()))
        return loss

    def tuned(self) -> dict[str, ParamValue]:
        """Return the current values."""
        return self.algorithm.tuned()

    def metrics(self) -> dict[str, float]:
        """Return the mean loss on the tuning split over the epoch's tune steps, scales, and what went wrong."""
        tuned = self.algorithm.model.hyperparameters
        metrics = {
            f"tune/scale/{name}": float(scale)
            for name, scale in zip(tuned.names, tuned.scale.detach().tolist(), strict=True)
        }
        if self._losses:
            losses = torch.stack(self._losses)
            finite = losses[torch.isfinite(losses)]
            if len(finite):
                metrics["tune/loss"] = float(finite.mean())
        if self.algorithm.rollbacks:
            metrics["tune/rollbacks"] = float(self.algorithm.rollbacks)
        edges = tuned.at_edge()
        metrics |= {f"tune/at_edge/{name}": 1.0 if edge == "high" else -1.0 for name, edge in edges.items()}
        return metrics

    def plain_state_dict(self) -> dict[str, Any]:
        """Return the state dict of the plain model at the best response to the current hyperparameters."""
        return self.algorithm.plain_state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of algorithm, tuning batches and counters."""
        return {
            "algorithm": self.algorithm.state_dict(),
            "tuning": self._tuning.state_dict(),
            "steps": self._steps,
            "schedule": self.schedule.entries(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state.

        Raises:
            TrialError: It is of another model or algorithm.
        """
        self.algorithm.load_state_dict(state["algorithm"])
        self._tuning.load_state_dict(state["tuning"])
        self._steps = state["steps"]
        self.schedule.truncate(0)
        for step, values in state["schedule"]:
            self.schedule.record(step, values)


class _Deployed(nn.Module):
    """The responding model at its current hyperparameters."""

    def __init__(self, algorithm: BestResponse) -> None:
        super().__init__()
        self.model = algorithm.model
        self._algorithm = algorithm

    def forward(self, x: Any) -> Tensor:
        outputs: Tensor = self.model(x, self._algorithm.displacement()[None])
        return outputs


class _Endless:
    """Batches without end, pass after pass."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self._order = order_state(batches)
        self._taken = 0
        self._pass: Iterator[Batch] | None = None

    def __next__(self) -> Batch:
        if self._pass is None:
            self._order, self._taken = order_state(self._batches), 0
            self._pass = iter(self._batches)
        try:
            batch = next(self._pass)
        except StopIteration:
            if not self._taken:
                raise TaskError("the tuning split gave no batch", where="task.tune", fix="make it larger") from None
            self._pass = None
            return next(self)
        self._taken += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"order": self._order, "taken": self._taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        set_order_state(self._batches, state["order"])
        self._order, self._taken = state["order"], 0
        self._pass = iter(self._batches)
        for _ in range(state["taken"]):
            next(self)


def _floats(values: Mapping[str, ParamValue]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}  # type: ignore[arg-type]
