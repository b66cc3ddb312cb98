"""Samplers: who proposes a trial's parameters; one file = one sampler, its name is the file's."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["DataDrivenSampler", "MIPSampler", "RacingPruner", "STNSampler", "race_tasks"]

_MODULES = {
    "DataDrivenSampler": "data_driven",
    "MIPSampler": "mip",
    "RacingPruner": "pruners.racing",
    "STNSampler": "stn",
    "race_tasks": "_interleave",
}


def __getattr__(name: str) -> Any:
    # On first use, so that naming a sampler costs nothing.
    if name in _MODULES:
        return getattr(importlib.import_module(f"hypertune.samplers.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hypertune.samplers' has no attribute {name!r}")
