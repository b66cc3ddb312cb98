"""``successive_halving``: at each rung only the best share of trials goes on, asynchronously (ASHA)."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, SuccessiveHalvingPruner

from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "successive_halving"]


def successive_halving(*, epochs: int, **options: Any) -> BasePruner:
    """Build Optuna's ``SuccessiveHalvingPruner``; ``epochs`` needs no mention, a trial ends there by itself.

    References:
        Li et al. A system for massively parallel hyperparameter tuning. MLSys 2020, algorithm 2.
    """
    return construct(SuccessiveHalvingPruner, {"min_resource": 1}, options, where="pruner")


PRUNER = successive_halving
