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
        holes = torch.as_tensor(values.get("erase_holes", 1.0), device=x.device).floor().reshape(-1, 1)
        half = torch.as_tensor(values.get("erase", 0.0), dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
        half = half * (min(height, width) / 2)
        # The first hole's draws come first, so that it stays where it is when the number of holes changes.
        draws = [self._draws(x, generator) for _ in range(max(1, int(holes.max())))]
        rows, columns = pixel_centres(x)
        erased = torch.zeros(len(x), height, width, dtype=torch.bool, device=x.device)
        for number, draw in enumerate(draws):
            in_rows = (rows - draw[:, 0] * height).abs()[:, :, None] < half
            in_columns = (columns - draw[:, 1] * width).abs()[:, None, :] < half
            erased |= in_rows & in_columns & (holes > number)[:, :, None]
        return x.masked_fill(erased[:, None], 0.0)

    def _draws(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return torch.rand(len(x), 2, 1, generator=generator, device=x.device, dtype=torch.float32).to(x.dtype)


EFFECT = Erase()
