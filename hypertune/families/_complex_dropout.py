"""Dropout of complex numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ComplexDropout"]


class ComplexDropout(nn.Dropout):
    """Drop complex entries whole, real and imaginary part together, and scale the others by ``1 / (1 - p)``.

    torch has no dropout for complex numbers. Real inputs are treated as ``nn.Dropout`` does, so that one layer serves
    a head that takes either. A best response tunes its rate as that of ``nn.Dropout``.

    Args:
        p: Probability to drop an entry, in [0, 1].
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of inputs of any shape while training."""
        if not x.is_complex():
            return super().forward(x)
        if not self.training or self.p == 0:
            return x
        kept = functional.dropout(torch.ones(x.shape, device=x.device, dtype=x.real.dtype), self.p, training=True)
        return x * kept
