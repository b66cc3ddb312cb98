"""hypertune: hyperparameter search for PyTorch that plugs into Optuna, Ray Tune and MLflow."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> module that defines it. Resolved on first use (PEP 562), so that `import hypertune` costs nothing.
_PUBLIC = {
    "AuxiliaryLoss": "hypertune.auxiliary_loss",
    "STN": "hypertune.hypernets.stn",
    "Cost": "hypertune.records",
    "DeltaSTN": "hypertune.hypernets.delta_stn",
    "Effect": "hypertune.effects.contract",
    "Family": "hypertune.families.contract",
    "HypertuneError": "hypertune.errors",
    "SearchSpace": "hypertune.space",
    "Task": "hypertune.tasks.contract",
    "TaskSpec": "hypertune.records",
    "Trial": "hypertune.training.trial",
    "TrialPruned": "hypertune.training.trial",
    "TrialResult": "hypertune.records",
    "attach": "hypertune.hypernets.attach",
    "register_effect": "hypertune.effects.catalogue",
    "resume_search": "hypertune.search",
    "run_search": "hypertune.search",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hypertune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
