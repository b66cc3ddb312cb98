"""``median``: stop a trial whose best value is worse than the median of earlier trials at the same step."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, MedianPruner

from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "median"]


def median(*, epochs: int, **options: Any) -> BasePruner:
    """Build Optuna's ``MedianPruner``; a tenth of the epochs is a warm-up without pruning."""
    return construct(MedianPruner, {"n_warmup_steps": epochs // 10}, options, where="pruner")


PRUNER = median
