"""``brightness``, ``contrast``: random offset and gain of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypertune.effects._images import ImageEffect
from hypertune.effects.contract import Hyperparameter, Values, per_example

__all__ = ["EFFECT", "Photometric"]


class Photometric(ImageEffect):
    """``mean + (x - mean) gain + offset``, the mean being the image's own.

    The offset is uniform on ±``brightness``, in units of the inputs. The gain is ``(1 + contrast)**u`` with u uniform
    on ±1, so that stretching and flattening are alike.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "brightness": Hyperparameter("largest offset added to an image while training, in units of the inputs"),
        "contrast": Hyperparameter("largest relative gain of an image about its mean while training", high=9.0),
    }

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Change ``(batch, channels, height, width)``; see `Effect.inputs`."""
        draws = torch.rand(len(x), 2, generator=generator, device=x.device, dtype=torch.float32).to(x.dtype) * 2 - 1
        brightness = per_example(values["brightness"], x)
        contrast = per_example(values["contrast"], x)
        offset, exponent = per_example(draws[:, 0], x), per_example(draws[:, 1], x)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return torch.lerp(mean, x, torch.exp(exponent * torch.log1p(contrast)).expand_as(x)) + offset * brightness


EFFECT = Photometric()
