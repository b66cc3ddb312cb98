"""What tracking asks of its callers beyond a stream of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = ["LoadModel"]

LoadModel: TypeAlias = Callable[[int], tuple[Any, Any] | None]
"""``load_model(trial_number)`` -> the trained ``torch.nn.Module`` and a NumPy array of example inputs (or None), or
None when the trial has no model to log. Picklable: it is called in the publisher's process, once, for the best trial.
"""
