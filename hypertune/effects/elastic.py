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

from hypertune.effects._images import ImageEffect, pixel_centres, resample
from hypertune.effects.contract import Hyperparameter, Values, per_example

__all__ = ["EFFECT", "Elastic"]

# The smoothing Gaussian's standard deviation is the distance between two knots, 1/7 of a side: the 4 of 28 pixels that
# [Simard2003] found best. Finer knots would not change a field that is this smooth.
_KNOTS = 8


class Elastic(ImageEffect):
    """Displace pixels by white noise smoothed with a Gaussian ([Simard2003] section 2); outside the image is 0.

    The noise sits on a coarse grid of knots, so that smoothing it costs two small products whatever the image's size.
    Each pixel's displacement, down and to the right, is normal with the strength as its standard deviation.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "elastic": Hyperparameter(
            "standard deviation of a smooth displacement of an image's pixels, as a fraction of its side", high=0.5
        )
    }

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Deform ``(batch, channels, height, width)``; see `Effect.inputs`."""
        knots = torch.randn(len(x), 2, _KNOTS, _KNOTS, generator=generator, device=x.device, dtype=torch.float32)
        strength = per_example(values["elastic"], knots)
        if not bool((strength != 0).any()):
            return x
        rows, columns = (centres / side for centres, side in zip(pixel_centres(x), x.shape[-2:], strict=True))
        field = _smoothing(rows) @ (strength * knots) @ _smoothing(columns).T
        # `grid_sample` counts columns first, in coordinates that run from -1 to 1 along each side.
        grid = torch.stack((columns + field[:, 1], rows[:, None] + field[:, 0]), dim=-1) * 2 - 1
        # Resampling in place rounds; an undisturbed image stays as it is.
        return torch.where(per_example(values["elastic"], x) == 0, x, resample(x, grid))


def _smoothing(places: Tensor) -> Tensor:
    """Return the weights of the knots at places in [0, 1], ``(places, knots)``; each row has an L2 norm of 1."""
    knots = torch.arange(_KNOTS, device=places.device)
    weights = torch.exp(-0.5 * (places[:, None] * (_KNOTS - 1) - knots).square())
    return functional.normalize(weights, dim=1)


EFFECT = Elastic()
