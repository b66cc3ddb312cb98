"""``wilcoxon``: stop a trial that a signed-rank test puts below the best, step by step (steps are instances)."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, WilcoxonPruner

from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "wilcoxon"]


def wilcoxon(*, epochs: int, **options: Any) -> BasePruner:
    """Build Optuna's ``WilcoxonPruner``."""
    return construct(WilcoxonPruner, {}, options, where="pruner")


PRUNER = wilcoxon
