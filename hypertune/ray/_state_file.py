"""The file that a search algorithm's state is saved in."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ray import cloudpickle

from hypertune.errors import StorageError

__all__ = ["read_state", "write_state"]


def write_state(path: str | Path, kind: str, state: dict[str, Any]) -> None:
    """Write a state, everything that it refers to included; by value what no other process can import."""
    Path(path).write_bytes(cloudpickle.dumps({"search": kind, "state": state}))


def read_state(path: str | Path, kind: str) -> dict[str, Any]:
    """Return a state.

    Raises:
        StorageError: The file cannot be read, or holds the state of something else.
    """
    try:
        saved = cloudpickle.loads(Path(path).read_bytes())
    except (OSError, EOFError, AttributeError, ImportError, ValueError, pickle.UnpicklingError) as error:
        raise StorageError(
            f"the search algorithm's state cannot be read: {error}", where="checkpoint_path", given=str(path)
        ) from error
    found = saved.get("search") if isinstance(saved, dict) else None
    if found != kind:
        raise StorageError(
            "holds the state of another search algorithm",
            where="checkpoint_path",
            given=found or type(saved).__name__,
            expected=kind,
        )
    state: dict[str, Any] = saved["state"]
    return state
