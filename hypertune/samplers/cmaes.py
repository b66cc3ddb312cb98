"""``cmaes``: Optuna's CMA-ES for numeric hyperparameters, TPE for the categorical ones."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler

from hypertune.samplers.contract import construct, continued_seed
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "cmaes"]


def cmaes(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build Optuna's ``CmaEsSampler`` with a multivariate ``TPESampler`` for what CMA-ES cannot vary."""
    seed = continued_seed(seed, resumed_at)
    independent = construct(TPESampler, {"multivariate": True, "seed": seed}, {}, where="sampler")
    # Categorical values always come from the independent sampler: a warning for each would only repeat that.
    defaults = {"seed": seed, "independent_sampler": independent, "warn_independent_sampling": False}
    return construct(CmaEsSampler, defaults, options, where="sampler")


SAMPLER = cmaes
