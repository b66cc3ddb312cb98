"""``erase``, ``erase_holes``: squares of an image set to 0.

References:
    [DeVries2017] DeVries, Taylor. Improved Regularization of Convolutional Neural Networks with Cutout.
        arXiv 1708.04552.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypertune.effects._images import ImageEffect, pixel_centres
from hypertune.effects.contract import Hyperparameter, Values

__all__ = ["EFFECT", "Erase"]

_MOST_HOLES = 8


class Erase(ImageEffect):
    """Erase squares whose centre lies anywhere in the image; the border may cut them ([DeVries2017] section 3).

    The centre is a real number, so that the mean erased area grows smoothly with the side.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "erase": Hyperparameter(
            "side of a square erased from an image while training, as a fraction of the image's side", high=0.9
        ),
        "erase_holes": Hyperparameter(
            "number of squares erased from an image while training", high=_MOST_HOLES, integer=True, default=1
        ),
    }

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Erase squares from ``(batch, channels, height, width)``; see `Effect.inputs`."""
        height, width = x.shape[-2:]
        # All squares are drawn, hole by hole: each stays where it is when the number of holes changes.
        shape = (_MOST_HOLES, len(x), 2, 1)
        draws = torch.rand(shape, generator=generator, device=x.device, dtype=torch.float32)
        holes = torch.as_tensor(values["erase_holes"], device=x.device).floor().reshape(-1, 1)
        half = torch.as_tensor(values["erase"], dtype=torch.float32, device=x.device).reshape(-1, 1)
        half = half * (min(height, width) / 2)
        rows, columns = pixel_centres(x)
        erased = torch.zeros(len(x), height, width, dtype=torch.bool, device=x.device)
        for number, draw in enumerate(draws[: int(holes.max())]):
            in_rows = ((rows - draw[:, 0] * height).abs() < half) & (holes > number)
            in_columns = (columns - draw[:, 1] * width).abs() < half
            erased |= in_rows[:, :, None] & in_columns[:, None, :]
        return x.masked_fill(erased[:, None], 0.0)


EFFECT = Erase()
