"""What an effect is: how hyperparameters act on a training batch, with a strength per example."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from hypertune.records import TaskSpec

__all__ = ["Effect", "Hyperparameter", "Mixed", "Values", "per_example"]

Values: TypeAlias = Mapping[str, Tensor]
"""Value of each hyperparameter in effect: a scalar, ``(1,)`` or ``(batch,)``, one per example."""


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One hyperparameter that an effect reads.

    Attributes:
        doc: One line of documentation.
        low: Smallest value that makes sense.
        high: Largest one; infinite when there is none.
        without_high: ``high`` itself is excluded.
        integer: Only whole numbers are meant; an effect rounds what it gets down.
        default: Value at which the hyperparameter has no effect, or the one used when a search leaves it out.
    """

    doc: str
    low: float = 0.0
    high: float = math.inf
    without_high: bool = False
    integer: bool = False
    default: float = 0.0


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch whose examples were mixed with others.

    Attributes:
        x: Inputs, ``(batch, ...)``.
        partner: Targets of the examples mixed in, ``(batch, ...)``.
        weight: Share of each example's own target, ``(batch,)``; the partner's target has the rest.
    """

    x: Tensor
    partner: Tensor
    weight: Tensor


class Effect:
    """What one hyperparameter, or a few that act together, does to a batch while training.

    A subclass overrides one of `inputs`, `mix` and `losses`; the others do nothing. No gradient flows through the
    values. Strengths are given per example, because a self-tuned trial perturbs every example's hyperparameters on
    its own; a plain trial passes scalars. An effect is stateless: all randomness comes from the generator it is given,
    and it draws the same numbers whatever its strengths, so that changing one strength leaves all other draws alone.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]]
    takes_complex: ClassVar[bool] = False
    """Whether `inputs` and `mix` also take complex inputs."""

    def problem(self, spec: TaskSpec) -> str | None:
        """Return why the effect makes no sense for a task, as one clause with what is expected; None when it does."""
        return None

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Return the inputs under this effect, same shape and dtype.

        Args:
            x: ``(batch, ...)``, floating point.
            values: This effect's hyperparameters.
            generator: On the device of ``x``.
        """
        return x

    def mix(self, x: Tensor, y: Tensor, values: Values, generator: torch.Generator) -> Mixed | None:
        """Return the batch with examples mixed, or None when this effect mixes nothing.

        Args:
            x: ``(batch, ...)``, floating point.
            y: Targets, ``(batch, ...)``.
            values: This effect's hyperparameters.
            generator: On the device of ``x``.
        """
        return None

    def losses(self, losses: Tensor, outputs: Tensor, targets: Tensor, values: Values) -> Tensor:
        """Return the losses under this effect.

        Args:
            losses: Loss per example, ``(batch,)``, with gradient.
            outputs: ``(batch, ...)``.
            targets: ``(batch, ...)``.
            values: This effect's hyperparameters.
        """
        return losses


def per_example(value: Tensor | float, x: Tensor) -> Tensor:
    """Return a value shaped to broadcast against ``x``: ``(batch or 1, 1, ..., 1)`` with as many axes as ``x``."""
    tensor = torch.as_tensor(value, dtype=x.dtype if x.is_floating_point() else torch.float32, device=x.device)
    return tensor.reshape(-1, *(1,) * (x.dim() - 1))
