"""Samplers: who proposes a trial's parameters; one file = one sampler, its name is the file's."""

from __future__ import annotations

from typing import Any

__all__ = ["STNSampler"]


def __getattr__(name: str) -> Any:
    # On first use, so that naming a sampler costs nothing.
    if name == "STNSampler":
        from hypertune.samplers.stn import STNSampler

        return STNSampler
    raise AttributeError(f"module 'hypertune.samplers' has no attribute {name!r}")
