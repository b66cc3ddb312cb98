"""Repeatability: seeds of independent random streams, and torch's deterministic algorithms."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "deterministic_algorithms", "seed_everything"]


def derive_seed(seed: int, *keys: int | str) -> int:
    """Return the seed of a named random stream; the same on every platform and in every process.

    Args:
        seed: Seed that the stream belongs to.
        keys: Name of the stream; ``1`` and ``"1"`` are different keys.

    Returns:
        A seed in [0, 2**31).
    """
    parts = [key if isinstance(key, str) else int(key) for key in (seed, *keys)]
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed the global generators of ``random``, ``numpy`` and ``torch`` (all devices).

    Args:
        seed: Seed in [0, 2**32).
    """
    random.seed(seed)
    np.random.seed(seed)  # users' datasets and modules draw from the global generator
    torch.manual_seed(seed)


@contextmanager
def deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Make torch use deterministic algorithms inside the block; with ``enabled`` false, leave its flags alone.

    An operation that has no deterministic form raises ``RuntimeError``.
    """
    if not enabled:
        yield
        return
    # cuBLAS reads it when its first handle is made; afterwards torch checks that it is there.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
