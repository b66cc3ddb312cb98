"""What the effects on images share."""

from __future__ import annotations

import torch
from torch import Tensor

from hypertune.effects.contract import Effect
from hypertune.records import TaskSpec

__all__ = ["ImageEffect", "pixel_centres"]


class ImageEffect(Effect):
    """An effect on images ``(batch, channels, height, width)``."""

    def problem(self, spec: TaskSpec) -> str | None:
        """Refuse inputs that are no images."""
        if len(spec.input_shape) == 3:
            return None
        return f"0 for inputs of shape {spec.input_shape}; images are (channels, height, width)"


def pixel_centres(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres of rows and columns in pixels, ``(height,)`` and ``(width,)``."""
    rows, columns = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5 for side in x.shape[-2:])
    return rows, columns
