"""The Ray Tune face: samplers as search algorithms, and search spaces to and from Ray's domains."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "DataDrivenSearch",
    "HyperTuneSearch",
    "MIPSearch",
    "PruningScheduler",
    "STNSearch",
    "from_ray",
    "to_ray",
]

_MODULES = {
    "DataDrivenSearch": "data_driven",
    "HyperTuneSearch": "search",
    "MIPSearch": "mip",
    "PruningScheduler": "scheduler",
    "STNSearch": "stn",
    "from_ray": "domains",
    "to_ray": "domains",
}


def __getattr__(name: str) -> Any:
    # On first use, so that a name costs only what it needs; Ray Tune alone takes two seconds.
    if name in _MODULES:
        return getattr(importlib.import_module(f"hypertune.ray.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'hypertune.ray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
