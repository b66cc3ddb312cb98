"""``time_mask``, ``frequency_mask``: a stretch of a signal, or of its spectrum, set to 0.

References:
    [Park2019] Park et al. SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition.
        Interspeech 2019, arXiv 1904.08779.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypertune.effects.contract import Effect, Hyperparameter, Values
from hypertune.records import TaskSpec

__all__ = ["EFFECT", "Masking"]


class Masking(Effect):
    """Mask one stretch of time and one band of frequencies of signals ``(batch, channels, length)``.

    As in [Park2019] section 2, a mask's width is uniform from 0 to the strength, and its place uniform. The signals
    are wave forms, so frequencies are masked in their discrete Fourier transform over time.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "time_mask": Hyperparameter("largest stretch of a signal masked while training, as a fraction of it", high=1.0),
        "frequency_mask": Hyperparameter(
            "largest band of a signal's spectrum masked while training, as a fraction of it", high=1.0
        ),
    }

    def problem(self, spec: TaskSpec) -> str | None:
        """Refuse inputs that are no signals."""
        if len(spec.input_shape) == 2:
            return None
        return f"0 for inputs of shape {spec.input_shape}; signals are (channels, length)"

    def inputs(self, x: Tensor, values: Values, generator: torch.Generator) -> Tensor:
        """Mask ``(batch, channels, length)``; see `Effect.inputs`."""
        draws = torch.rand(len(x), 4, generator=generator, device=x.device, dtype=torch.float32)
        length = x.shape[-1]
        band = torch.as_tensor(values["frequency_mask"], dtype=torch.float32, device=x.device)
        if bool((band > 0).any()):
            kept = _outside(draws[:, :2], band, length // 2 + 1)
            precise = x if x.dtype == torch.float64 else x.float()
            filtered = torch.fft.irfft(torch.fft.rfft(precise) * kept, n=length).to(x.dtype)
            x = torch.where((band > 0).reshape(-1, 1, 1), filtered, x)
        stretch = torch.as_tensor(values["time_mask"], dtype=torch.float32, device=x.device)
        return x * _outside(draws[:, 2:], stretch, length)


def _outside(draws: Tensor, strength: Tensor, size: int) -> Tensor:
    """Return which of ``size`` cells lie outside each example's mask, ``(batch, 1, size)``."""
    width = draws[:, :1] * strength.reshape(-1, 1) * size
    start = draws[:, 1:] * (size - width)
    cells = torch.arange(size, device=draws.device) + 0.5
    return ((cells < start) | (cells >= start + width))[:, None]


EFFECT = Masking()
