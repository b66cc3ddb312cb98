"""All effects of one trial, in order, each with a random stream of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypertune.effects.catalogue import effect_of, effects
from hypertune.effects.contract import Effect, Mixed
from hypertune.errors import ConfigError, TaskError, TrialError

__all__ = ["Effects", "TrainingBatch", "checked_losses"]


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """A batch under effects.

    Attributes:
        x: Inputs, ``(batch, ...)``.
        y: Targets, ``(batch, ...)``.
        mixed: What was mixed in, when something was.
    """

    x: Tensor
    y: Tensor
    mixed: Mixed | None = None


class Effects:
    """The effects that read the given hyperparameters.

    They act on the inputs in the order of `catalogue.effects`, then mix examples, and act on the losses in the same
    order. Each has a random stream of its own that depends on nothing but the seed and the names it reads: turning one
    effect on or up leaves the draws of all others as they were.

    Args:
        names: Hyperparameters; each must be read by an effect.
        seed: Seed of the random streams.
        device: Where the batches are.

    Raises:
        ConfigError: No effect reads a name, or two of the effects mix examples.
    """

    def __init__(self, names: Iterable[str], *, seed: int, device: torch.device | str = "cpu") -> None:
        wanted = {id(effect_of(name)) for name in names}
        active: dict[int, Effect] = {id(e): e for e in effects().values() if id(e) in wanted}
        self._active = [(effect, _stream(effect, seed, device)) for effect in active.values()]
        mixing = [_key(effect) for effect in active.values() if _overrides(effect, "mix")]
        if len(mixing) > 1:
            raise ConfigError(
                "two effects mix examples, and the targets of a mixture of mixtures are not known",
                where=f"effects.{mixing[1]}",
                given=", ".join(mixing),
                fix="use one of them",
            )

    @staticmethod
    def known() -> frozenset[str]:
        """Return the names of all hyperparameters that some effect reads."""
        return frozenset(effects())

    def apply(self, x: Tensor, y: Tensor, values: Mapping[str, Tensor | float]) -> TrainingBatch:
        """Return a batch under all effects.

        Args:
            x: ``(batch, ...)``.
            y: ``(batch, ...)``.
            values: Each hyperparameter's value, a number, ``(1,)`` or ``(batch,)``; those of inactive effects are
                left alone.

        Raises:
            TrialError: The inputs are not floating point, or complex and an effect is not defined for such.
        """
        if not self._active:
            return TrainingBatch(x, y)
        changes = [entry for entry in self._active if _overrides(entry[0], "inputs") or _overrides(entry[0], "mix")]
        if changes and x.is_complex():
            _check_complex(effect for effect, _ in changes)
        elif changes and not x.is_floating_point():
            raise TrialError(
                "augmentation needs floating-point inputs",
                where="params",
                given=str(x.dtype),
                expected="float32 inputs",
                fix="convert the inputs in the task, or remove the augmentations from the space",
            )
        for effect, generator in changes:
            x = effect.inputs(x, _own(effect, values), generator)
        mixed = None
        for effect, generator in changes:
            made = effect.mix(x, y, _own(effect, values), generator)
            if made is not None:
                x, mixed = made.x, made
        return TrainingBatch(x, y, mixed)

    def example_losses(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        outputs: Tensor,
        batch: TrainingBatch,
        values: Mapping[str, Tensor | float],
    ) -> Tensor:
        """Return the training loss of each example.

        Args:
            loss: The task's loss per example.
            outputs: ``(batch, ...)``.
            batch: What `apply` made.
            values: As for `apply`.

        Returns:
            ``(batch,)``.

        Raises:
            TaskError: The loss returns another shape.
        """
        losses = self._losses(loss, outputs, batch.y, values)
        if batch.mixed is None:
            return losses
        others = self._losses(loss, outputs, batch.mixed.partner, values)
        return torch.lerp(others, losses, batch.mixed.weight.to(losses.dtype))

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the random streams."""
        return {_key(effect): generator.get_state() for effect, generator in self._active}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the random streams."""
        for effect, generator in self._active:
            generator.set_state(state[_key(effect)].cpu())

    def _losses(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        outputs: Tensor,
        targets: Tensor,
        values: Mapping[str, Tensor | float],
    ) -> Tensor:
        losses = checked_losses(loss(outputs, targets), targets)
        for effect, _ in self._active:
            losses = effect.losses(losses, outputs, targets, _own(effect, values))
        return losses


def checked_losses(losses: object, targets: Tensor) -> Tensor:
    """Return what a loss function gave, one loss per example.

    Raises:
        TaskError: It has another shape.
    """
    if not isinstance(losses, Tensor) or losses.shape != targets.shape[:1]:
        raise TaskError(
            "the loss gives no value per example",
            where="task.loss",
            given=f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else losses,
            expected=f"shape ({targets.shape[0]},) for a batch of {targets.shape[0]}",
            fix="use reduction='none', and average what one example has several of",
        )
    return losses


def _check_complex(changes: Iterable[Effect]) -> None:
    for effect in changes:
        if not effect.takes_complex:
            raise TrialError(
                "it is not defined for complex inputs",
                where=f"params.{next(iter(effect.hyperparameters))}",
                given="complex inputs",
                expected="real inputs",
                fix=f"remove {', '.join(effect.hyperparameters)} from the space",
            )


def _own(effect: Effect, values: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    """Return an effect's own values as tensors without gradient; of those not given, the defaults."""
    return {
        name: torch.as_tensor(values.get(name, known.default)).detach()
        for name, known in effect.hyperparameters.items()
    }


def _overrides(effect: Effect, method: str) -> bool:
    return getattr(type(effect), method) is not getattr(Effect, method)


def _stream(effect: Effect, seed: int, device: torch.device | str) -> torch.Generator:
    state = np.random.SeedSequence([seed, *_key(effect).encode()]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(state))


def _key(effect: Effect) -> str:
    """Return what no other effect has: the hyperparameters that it reads."""
    return ",".join(effect.hyperparameters)
