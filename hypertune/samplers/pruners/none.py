"""``none``: every trial runs to its end."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, NopPruner

from hypertune.samplers.contract import construct

__all__ = ["PRUNER", "none"]


def none(*, epochs: int, **options: Any) -> BasePruner:
    """Build Optuna's ``NopPruner``."""
    return construct(NopPruner, {}, options, where="pruner")


PRUNER = none
