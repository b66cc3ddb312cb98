"""``shift``, ``rotate``, ``scale``: one random affine map per image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects._images import ImageEffect, resample
from hypertune.effects.contract import Hyperparameter, Values

__all__ = ["EFFECT", "Affine", "affine_matrix"]


class Affine(ImageEffect):
    """Zoom and rotate about the centre, then shift; what an image uncovers becomes 0.

    The three are one resampling: each further one would blur the image again.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "shift": Hyperparameter("largest shift of an image while training, as a fraction of its side", high=0.5),
        "rotate": Hyperparameter("largest rotation of an image while training, in degrees", high=180.0),
        "scale": Hyperparameter("largest relative zoom of an image while training", high=0.9),
    }

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Move ``(batch, channels, height, width)``; see `Effect.inputs`."""
        # Places need more digits than a type of reduced precision has.
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        draws = torch.rand(len(x), 4, generator=generator, device=x.device, dtype=torch.float32).to(precise) * 2 - 1
        shift, rotate, scale = (
            torch.as_tensor(values[name], dtype=precise, device=x.device).reshape(-1).expand(len(x))
            for name in ("shift", "rotate", "scale")
        )
        still = (shift == 0) & (rotate == 0) & (scale == 0)
        if bool(still.all()):
            return x
        matrix = affine_matrix(
            shift=draws[:, :2] * shift[:, None],
            degrees=draws[:, 2] * rotate,
            zoom=torch.exp(draws[:, 3] * torch.log1p(scale)),
            size=(x.shape[-2], x.shape[-1]),
        )
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        # Resampling in place rounds; an image that stays is not touched.
        return torch.where(still[:, None, None, None], x, resample(x, grid))


def affine_matrix(*, shift: Tensor, degrees: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the matrices for `torch.nn.functional.affine_grid` that zoom and rotate about the centre, then shift.

    The matrices map places in the result to places in the image, in coordinates that run from -1 to 1 along each axis;
    rotation and zoom keep shapes on images that are not square.

    Args:
        shift: Shift to the right and down, ``(batch, 2)``, as fractions of width and height.
        degrees: Rotation, ``(batch,)``, counter-clockwise as one sees the image.
        zoom: Factor, ``(batch,)``; above 1 enlarges what the image shows.
        size: Height and width in pixels.

    Returns:
        ``(batch, 2, 3)``.
    """
    height, width = size
    radians = degrees * (math.pi / 180)
    cosine, sine = torch.cos(radians) / zoom, torch.sin(radians) / zoom
    # Inverse of the rotation in pixels, rescaled to the two axes' coordinates.
    inverse = torch.stack((cosine, -sine * (height / width), sine * (width / height), cosine), dim=1).reshape(-1, 2, 2)
    offset = -inverse @ (2 * shift)[:, :, None]
    return torch.cat((inverse, offset), dim=2)


EFFECT = Affine()
