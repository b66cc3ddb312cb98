"""``random``: independent uniform draws, the yardstick of every other sampler."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler, RandomSampler

from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "random"]


def random(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build Optuna's ``RandomSampler``."""
    return construct(RandomSampler, {"seed": continued_seed(seed, resumed_at)}, options, where="sampler")


SAMPLER = random
