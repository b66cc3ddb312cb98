"""``hyperband``: several successive-halving brackets, from short to full trials."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, HyperbandPruner

from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "hyperband"]


def hyperband(*, epochs: int, **options: Any) -> BasePruner:
    """Build Optuna's ``HyperbandPruner`` with ``trial.epochs`` as its largest resource."""
    return construct(HyperbandPruner, {"min_resource": 1, "max_resource": epochs}, options, where="pruner")


PRUNER = hyperband
