"""``input_noise``: Gaussian noise on the inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypertune.effects.contract import Effect, Hyperparameter, Values, per_example
from hypertune.kernels.row_dropout import row_noise

__all__ = ["EFFECT", "InputNoise"]


class InputNoise(Effect):
    """Gaussian noise of a given standard deviation on every entry of the inputs.

    On complex inputs it is circular: of a standard deviation s, the root of the mean squared modulus, each part has
    ``s / sqrt(2)``.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "input_noise": Hyperparameter("standard deviation of Gaussian noise on the inputs while training")
    }
    takes_complex: ClassVar[bool] = True

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Add noise; see `Effect.inputs`."""
        return row_noise(x, per_example(values["input_noise"], x), generator=generator)


EFFECT = InputNoise()
