"""A model's weights on disk: one file per trial, complete or absent."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError, StorageError, TrialError
from hypertune.families.contract import Family, build_model
from hypertune.records import Params, TaskSpec

__all__ = ["copy_weights", "load_model", "save_checkpoint"]


def save_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, *, params: Params, epoch: int, metrics: Mapping[str, float]
) -> None:
    """Write a model's weights with what is needed to build it again.

    The file is written beside its place and moved there, so that a killed process leaves the old one or the new one.

    Args:
        path: Where to; the folder is made.
        model: The model.
        params: Hyperparameters it was built from.
        epoch: Epoch the weights are from.
        metrics: Metrics of that epoch.

    Raises:
        TrialError: The disk is full, or the place cannot be written.
    """
    target = Path(path)
    content = {
        "model": model.state_dict(),
        "params": dict(params),
        "epoch": int(epoch),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, temporary)
        temporary.replace(target)
    # torch's zip writer reports a full disk as RuntimeError.
    except (OSError, RuntimeError) as error:
        raise TrialError(
            f"the checkpoint cannot be written: {_cause(error)}",
            where="trial.checkpoint",
            given=str(target),
            fix="free disk space, or choose a writable study.folder",
        ) from error
    finally:
        _remove(temporary)


def load_model(path: str | os.PathLike[str], family: Family, spec: TaskSpec) -> nn.Module:
    """Build a checkpoint's model again.

    Args:
        path: The checkpoint.
        family: The family it was built by.
        spec: The task it was built for.

    Returns:
        The model, on the CPU and in evaluation mode.

    Raises:
        StorageError: The file is missing, or is no checkpoint.
        FamilyError: The family builds another model now.
    """
    content = _read(Path(path))
    model = build_model(family, content["params"], spec)
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, TypeError, KeyError) as error:
        raise FamilyError(
            f"the checkpoint does not fit the model: {_cause(error, lines=3)}",
            where="trial.checkpoint",
            given=str(path),
            fix="use the family, options and version it was trained with",
        ) from error
    return model.eval()


def copy_weights(weights: dict[str, Any]) -> dict[str, Any]:
    """Return a model's state dict with its tensors copied to host memory; the dict itself is changed and returned."""
    # In place, so that the module versions which the dict carries stay with it.
    for name, value in weights.items():
        weights[name] = value.to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
    return weights


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise StorageError(
            "the checkpoint is missing",
            where="trial.checkpoint",
            given=str(path),
            fix="train with trial.keep_checkpoints: best or all",
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, BadZipFile) as error:
        raise _unreadable(path, _cause(error)) from error
    if not isinstance(content, dict) or not {"model", "params"} <= content.keys():
        raise _unreadable(path, "it holds something else")
    return content


def _unreadable(path: Path, cause: str) -> StorageError:
    return StorageError(
        f"not a readable checkpoint: {cause}",
        where="trial.checkpoint",
        given=str(path),
        fix="train the trial again",
    )


def _remove(path: Path) -> None:
    # What made the write fail may forbid this too; the write is what gets reported.
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _cause(error: BaseException, lines: int = 1) -> str:
    # torch's own messages continue with advice about unsafe loading, which is not for this file.
    first = "; ".join(part.strip() for part in str(error).splitlines()[:lines])
    return f"{type(error).__name__}: {first}"
