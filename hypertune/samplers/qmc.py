"""``qmc``: Optuna's quasi-Monte Carlo design, scrambled Sobol by default."""

from __future__ import annotations

from typing import Any

from optuna.samplers import BaseSampler, QMCSampler

from hypertune.samplers.contract import construct
from hypertune.space import SearchSpace

__all__ = ["SAMPLER", "qmc"]


def qmc(space: SearchSpace, *, seed: int, resumed_at: int = 0, **options: Any) -> BaseSampler:
    """Build Optuna's ``QMCSampler``.

    The seed is the study's own on resume too: it selects the scrambled sequence, and the position in that sequence is
    kept in the study.
    """
    defaults = {"seed": seed, "scramble": True, "warn_independent_sampling": False, "warn_asynchronous_seeding": False}
    return construct(QMCSampler, defaults, options, where="sampler")


SAMPLER = qmc
