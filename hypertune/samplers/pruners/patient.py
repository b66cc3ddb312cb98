"""``patient``: another pruner that has to wait until a trial stops improving."""

from __future__ import annotations

from typing import Any

from optuna.pruners import BasePruner, PatientPruner

from hypertune.errors import ConfigError, did_you_mean
from hypertune.samplers.contract import construct
from hypertune.samplers.pruners.hyperband import hyperband
from hypertune.samplers.pruners.median import median
from hypertune.samplers.pruners.wilcoxon import wilcoxon

__all__ = ["PRUNER", "patient"]

_WRAPPED = {"median": median, "hyperband": hyperband, "wilcoxon": wilcoxon}


def patient(*, epochs: int, wrapped: str | None = "median", patience: int = 5, **options: Any) -> BasePruner:
    """Build Optuna's ``PatientPruner``.

    Args:
        epochs: Reports a trial makes at most.
        wrapped: ``median``, ``hyperband`` or ``wilcoxon``, asked once patience has run out; None prunes then.
        patience: Reports without improvement to wait for.
        options: Further arguments of ``PatientPruner``, such as ``min_delta``.

    Raises:
        ConfigError: ``wrapped`` is not one of them, or an option is wrong.
    """
    if wrapped is not None and wrapped not in _WRAPPED:
        raise ConfigError(
            "unknown pruner to wrap", where="pruner.wrapped", given=wrapped, fix=did_you_mean(wrapped, _WRAPPED)
        )
    inner = None if wrapped is None else _WRAPPED[wrapped](epochs=epochs)
    defaults = {"wrapped_pruner": inner, "patience": patience}
    return construct(PatientPruner, defaults, options, where="pruner")


PRUNER = patient
