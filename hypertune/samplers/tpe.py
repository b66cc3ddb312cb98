"""``tpe``: Optuna's tree-structured Parzen estimator, multivariate and aware of running trials."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler, TPESampler

from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "tpe"]


def tpe(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build Optuna's ``TPESampler``; ``multivariate`` and ``constant_liar`` are on unless an option says otherwise."""
    defaults = {"multivariate": True, "constant_liar": True, "seed": continued_seed(seed, resumed_at)}
    return construct(TPESampler, defaults, options, where="sampler")


SAMPLER = tpe
