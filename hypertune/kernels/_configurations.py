"""Sizes of tiles and numbers of warps, from shapes alone: pure functions that need no driver and no Triton."""

from __future__ import annotations

__all__ = ["ceil_div", "clamp_power_of_two", "next_power_of_two"]


def next_power_of_two(size: int) -> int:
    """Return the least power of two that is at least ``size``, and at least 1."""
    return 1 << max(size - 1, 0).bit_length()


def clamp_power_of_two(size: int, low: int, high: int) -> int:
    """Return `next_power_of_two` of ``size``, between two powers of two."""
    return min(max(next_power_of_two(size), low), high)


def ceil_div(size: int, block: int) -> int:
    """Return how many blocks cover ``size``."""
    return -(-size // block)
