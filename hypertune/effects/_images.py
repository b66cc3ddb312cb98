"""What the effects on images share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects.contract import Effect
from hypertune.records import TaskSpec

__all__ = ["ImageEffect", "pixel_centres", "resample"]


class ImageEffect(Effect):
    """An effect on images ``(batch, channels, height, width)``."""

    def problem(self, spec: TaskSpec) -> str | None:
        """Refuse inputs that are no images."""
        if len(spec.input_shape) == 3:
            return None
        return f"0 for inputs of shape {spec.input_shape}; images are (channels, height, width)"


def pixel_centres(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres of rows and columns in pixels, ``(height,)`` and ``(width,)``, as float32."""
    rows, columns = (torch.arange(side, device=x.device, dtype=torch.float32) + 0.5 for side in x.shape[-2:])
    return rows, columns


def resample(x: Tensor, grid: Tensor) -> Tensor:
    """Return images read at other places, bilinearly; outside an image is 0.

    Args:
        x: ``(batch, channels, height, width)``; a type of reduced precision is computed in float32, because it could
            not tell the places of neighbouring pixels apart.
        grid: Column and row to read each pixel at, ``(batch, height, width, 2)``, from -1 to 1 along each side.
    """
    precise = x if x.dtype == torch.float64 else x.float()
    moved = functional.grid_sample(
        precise, grid.to(precise.dtype), mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return moved.to(x.dtype)
