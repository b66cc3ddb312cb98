"""Trained hypernetworks on disk, and what tells whether one belongs to a search."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import torch
from torch import Tensor, nn

from hypertune.errors import ConfigError, StorageError, TaskError
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Split, Task
from hypertune.training.batches import first_batch

__all__ = ["check_identity", "identity_of", "read_predictor", "write_predictor"]

_VERSION = 1
_EXAMPLES = 16


def identity_of(
    space: SearchSpace, family: str, model: nn.Module, task: Task, setting: Params, network: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a saved hypernetwork must agree on with the search that uses it, as plain data.

    Args:
        space: The search space.
        family: Name of the family.
        model: The plain model.
        task: The task; of its data the sizes and a checksum of some examples are taken.
        setting: Values of the hyperparameters that are not covered.
        network: Options of the network.
    """
    return {
        "space": {name: dict(entry) for name, entry in space.to_mapping().items()},
        "model": {"family": family, **{name: list(weight.shape) for name, weight in model.named_parameters()}},
        "task": asdict(task.spec) | {"train": _fingerprint(task.train), "val": _fingerprint(task.val)},
        "setting": dict(setting),
        "hypernetwork": {name: _plain(value) for name, value in network.items()},
    }


def check_identity(saved: Mapping[str, Any], now: Mapping[str, Any], *, path: str) -> None:
    """Compare what a saved hypernetwork was trained for with what it is wanted for.

    Raises:
        ConfigError: They differ; the first difference is named.
    """
    for part in now:
        before, after = saved.get(part, {}), now[part]
        for name in {**after, **before}:
            if _plain(before.get(name)) != _plain(after.get(name)):
                raise ConfigError(
                    f"the hypernetwork in {path} was trained for another {part}",
                    where=f"{part}.{name}",
                    given=after.get(name, "missing"),
                    expected=f"{before.get(name, 'missing')!r}, as when it was trained",
                    fix="train a new one, or restore what it was trained for",
                )


def write_predictor(
    path: str | os.PathLike[str],
    identity: Mapping[str, Any],
    facts: Mapping[str, Any],
    states: Sequence[Mapping[str, Any]],
) -> None:
    """Write a trained hypernetwork beside its place and move it there.

    Raises:
        StorageError: The disk is full, or the place cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    content = {"version": _VERSION, "identity": dict(identity), "facts": dict(facts), "states": list(states)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, temporary)
        temporary.replace(target)
    # torch's zip writer reports a full disk as RuntimeError.
    except (OSError, RuntimeError) as error:
        raise StorageError(
            f"the hypernetwork cannot be written: {type(error).__name__}: {error}",
            where="sampler.hypernetwork",
            given=str(target),
            fix="free disk space, or choose a writable study.folder",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_predictor(file: str | os.PathLike[str] | BinaryIO) -> dict[str, Any]:
    """Read what `write_predictor` wrote: ``identity``, ``facts`` and ``states``.

    Args:
        file: Its path, or the file itself, open for reading.

    Raises:
        StorageError: The file is missing, or is no hypernetwork.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content["version"] != _VERSION or not {"identity", "facts", "states"} <= content.keys():
            raise ValueError(f"version {content['version']}")
    except FileNotFoundError as error:
        raise StorageError(
            "the hypernetwork is missing", where="sampler.hypernetwork", given=str(file), fix="train it"
        ) from error
    except (
        AttributeError,
        BadZipFile,
        EOFError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise StorageError(
            f"not a readable hypernetwork: {type(error).__name__}",
            where="sampler.hypernetwork",
            given=str(file),
            fix="delete it, and train it again",
        ) from error
    return dict(content)


def _fingerprint(split: Split) -> str:
    try:
        x, y = first_batch(split, batch_size=_EXAMPLES)
        digest = hashlib.sha256()
        for tensor in (x, y):
            digest.update(_bytes(tensor))
    except TaskError:
        return "unreadable"
    size = len(split) if hasattr(split, "__len__") else "a stream of"
    return f"{size} examples, checksum {digest.hexdigest()[:12]}"


def _bytes(tensor: Tensor) -> bytes:
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return real.detach().cpu().contiguous().numpy().tobytes()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
