"""A trial in mid-run on disk, so that a killed one continues instead of starting anew."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["load_state", "random_state", "save_state", "set_random_state"]


def save_state(path: str | os.PathLike[str], state: dict[str, Any]) -> bool:
    """Write a trial's state beside its place and move it there; return False when the disk refuses.

    A state that cannot be written costs a repeated trial at worst, so it does not end the trial that wanted it.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(target)
    # torch's zip writer reports a full disk as RuntimeError.
    except (OSError, RuntimeError):
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        return False
    return True


def load_state(path: str | os.PathLike[str], device: torch.device) -> dict[str, Any] | None:
    """Read a trial's state; None when there is none, or none that can be read."""
    try:
        # The file is this trial's own: it holds numpy's and Python's random states beside tensors.
        state = torch.load(path, map_location=device, weights_only=False)
    # A damaged pickle can raise whatever its bytes happen to call, and one of another version what has changed since.
    except Exception:
        return None
    return state if isinstance(state, dict) else None


def random_state() -> dict[str, Any]:
    """Return the state of the global generators of Python, NumPy and torch, all devices."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Continue the global generators from a state."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])
