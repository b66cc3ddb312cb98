"""``gp``: Optuna's Gaussian-process Bayesian optimization."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler, GPSampler

from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "gp"]


def gp(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build Optuna's ``GPSampler``; it imports torch when it is first fitted."""
    return construct(GPSampler, {"seed": continued_seed(seed, resumed_at)}, options, where="sampler")


SAMPLER = gp
