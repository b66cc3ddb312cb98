"""Samplers of ours optimize one objective."""

from __future__ import annotations

from optuna.samplers import BaseSampler
from optuna.study import Study

__all__ = ["check_single_objective"]


def check_single_objective(study: Study, sampler: BaseSampler) -> None:
    """Refuse a study of several objectives.

    Raises:
        ValueError: It has several; the type that Optuna's own samplers raise.
    """
    if len(study.directions) > 1:
        raise ValueError(f"{type(sampler).__name__} optimizes a single objective; the study has several")
