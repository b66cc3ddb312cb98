"""``elastic``: a smooth random displacement of an image's pixels.

References:
    [Simard2003] Simard, Steinkraus, Platt. Best Practices for Convolutional Neural Networks Applied to Visual Document
        Analysis. ICDAR 2003.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects._images import ImageEffect
from hypertune.effects.contract import Hyperparameter, Values, per_example

__all__ = ["EFFECT", "Elastic"]

_KNOTS = 5


class Elastic(ImageEffect):
    """Displace pixels by a smooth random field; what lies outside the image is 0.

    [Simard2003] section 2 smooths white noise by a Gaussian; here the field is drawn on a coarse grid of knots and
    interpolated, which is as smooth and needs one pass whatever the image's size.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "elastic": Hyperparameter(
            "standard deviation of a smooth displacement of an image's pixels, as a fraction of its side", high=0.5
        )
    }

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Deform ``(batch, channels, height, width)``; see `Effect.inputs`."""
        size = (x.shape[-2], x.shape[-1])
        knots = torch.randn(len(x), 2, _KNOTS, _KNOTS, generator=generator, device=x.device, dtype=torch.float32)
        field = functional.interpolate(knots, size=size, mode="bicubic", align_corners=True).to(x.dtype)
        # Coordinates run over 2 along each side.
        field = 2 * field * per_example(values["elastic"], field)
        still = torch.eye(2, 3, device=x.device, dtype=x.dtype).expand(len(x), 2, 3)
        grid = functional.affine_grid(still, list(x.shape), align_corners=False)
        moved = functional.grid_sample(
            x, grid + field.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False
        )
        # Resampling in place rounds; an undisturbed image stays as it is.
        return torch.where(per_example(values["elastic"], x) == 0, x, moved)


EFFECT = Elastic()
