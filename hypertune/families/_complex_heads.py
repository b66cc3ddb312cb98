"""From complex feature maps to real outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError, did_you_mean
from hypertune.families._complex_dropout import ComplexDropout
from hypertune.families._complex_pooling import ComplexAdaptiveAvgPool

__all__ = ["COMPLEX_HEADS", "ComplexHead", "real_parts"]

COMPLEX_HEADS = ("modulus", "parts")
"""How complex features become real ones: by their modulus, or as real and imaginary part side by side."""


class ComplexHead(nn.Module):
    """Average over a coarse grid of cells, dropout, and a real linear layer.

    ``modulus`` takes |z| before it averages, because phases of neighbours would cancel; ``parts`` averages complex
    numbers and passes both parts on. A grid and not one average, because position in a spectrum is frequency. Feature
    maps that are real, those of a real twin, are passed on as they are.

    Args:
        channels: Channels of the feature maps.
        cells: Cells of the grid along each spatial axis.
        outputs: Size of the output.
        head: One of `COMPLEX_HEADS`; None: the feature maps are real.
        dropout: Probability to drop a feature, both parts together.

    Raises:
        FamilyError: The head is unknown.
    """

    def __init__(
        self, channels: int, cells: tuple[int, ...], outputs: int, *, head: str | None, dropout: float
    ) -> None:
        super().__init__()
        if head is not None and head not in COMPLEX_HEADS:
            raise FamilyError(
                "unknown head",
                where="family.head",
                given=head,
                expected=f"one of {', '.join(COMPLEX_HEADS)}",
                fix=did_you_mean(head, COMPLEX_HEADS),
            )
        self.head = head
        self.pool = ComplexAdaptiveAvgPool(cells)
        self.dropout = ComplexDropout(dropout)
        features = channels * math.prod(cells)
        self.linear = nn.Linear(2 * features if head == "parts" else features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channels, *space)`` to real ``(batch, outputs)``."""
        features = self.pool(x.abs() if self.head == "modulus" else x).flatten(1)
        features = self.dropout(features)
        outputs: Tensor = self.linear(real_parts(features) if self.head == "parts" else features)
        return outputs


def real_parts(x: Tensor) -> Tensor:
    """Return complex ``(batch, channels, ...)`` as real ``(batch, 2 * channels, ...)``: real parts, then imaginary."""
    return torch.view_as_real(x).movedim(-1, 1).flatten(1, 2)
