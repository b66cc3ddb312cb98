"""Triton's random numbers in PyTorch operators: the same bits from the same seed and counter.

A backward pass must find the mask of its forward pass even where the kernel that drew it no longer runs, and tests need
an independent source of the numbers.

References:
    [Salmon2011] Salmon, Moraes, Dror, Shaw. Parallel Random Numbers: As Easy as 1, 2, 3. SC 2011: Philox4x32-10.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["normal", "uniform"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
# Largest scale that keeps every number below 1, as Triton has it.
_TO_UNIFORM = 4.6566127342e-10
# Box and Muller's method takes the logarithm of a number that must not be 0.
_LEAST = 1.0e-7


def uniform(seed: Tensor, rows: int, inner: int) -> Tensor:
    """Return uniform numbers in [0, 1), ``(rows, inner)`` float32: four neighbours of a row share a counter.

    Args:
        seed: One number, int64.
        rows: Rows.
        inner: Entries of a row.
    """
    return torch.stack(_uniforms(seed, rows, inner), dim=-1).reshape(rows, -1)[:, :inner]


def normal(seed: Tensor, rows: int, inner: int) -> Tensor:
    """Return standard normal numbers, ``(rows, inner)`` float32; arguments as for `uniform`."""
    u0, u1, u2, u3 = _uniforms(seed, rows, inner)
    pairs = [*_box_muller(u0, u1), *_box_muller(u2, u3)]
    return torch.stack(pairs, dim=-1).reshape(rows, -1)[:, :inner]


def _uniforms(seed: Tensor, rows: int, inner: int) -> tuple[Tensor, ...]:
    counters = torch.arange(rows * -(-inner // 4), device=seed.device).reshape(rows, -1)
    return tuple(_to_uniform(word) for word in _philox(seed.reshape(()), counters))


def _philox(seed: Tensor, counters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return four 32-bit words, each in int64, for each counter ([Salmon2011], ten rounds)."""
    first, second = _MULTIPLIERS
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    c0, c1 = counters & _WORD, (counters >> 32) & _WORD
    c2 = c3 = torch.zeros_like(counters)
    for _ in range(10):
        c0, c1, c2, c3 = (
            _high(second, c2) ^ c1 ^ k0,
            (c2 * second) & _WORD,
            _high(first, c0) ^ c3 ^ k1,
            (c0 * first) & _WORD,
        )
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _high(multiplier: int, word: Tensor) -> Tensor:
    # The upper half of a 64-bit product, in steps that a signed 64-bit number holds.
    return ((word >> 16) * multiplier + (((word & 0xFFFF) * multiplier) >> 16)) >> 16


def _to_uniform(word: Tensor) -> Tensor:
    signed = torch.where(word > 0x7FFFFFFF, _WORD - word, word)
    return signed.to(torch.float32) * torch.tensor(_TO_UNIFORM, dtype=torch.float32, device=word.device)


def _box_muller(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    radius = (-2.0 * u.clamp(min=_LEAST).log()).sqrt()
    angle = 2 * math.pi * v
    return radius * angle.cos(), radius * angle.sin()
