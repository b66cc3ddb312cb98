"""Where a trial computes."""

from __future__ import annotations

import torch

from hypertune.errors import ConfigError

__all__ = ["resolve_device"]


def resolve_device(name: str, worker: int = 0) -> torch.device:
    """Return the device a trial runs on.

    Args:
        name: ``auto``, or a torch device such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. With ``auto``, worker ``w``
            gets GPU ``w`` modulo the number of GPUs; without GPUs MPS where there is one, else the CPU.
        worker: Index of the worker that runs the trial, from 0.

    Raises:
        ConfigError: The device is unknown, or this machine has none.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", worker % torch.cuda.device_count())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(
            "unknown device",
            where="trial.device",
            given=name,
            expected="auto, cpu, cuda, cuda:0, mps, ...",
            fix="use auto",
        ) from error
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        # Builds without a backend answer in several exception types; the first line says which is missing.
        cause = str(error).partition("\n")[0]
        raise ConfigError(
            f"this machine cannot compute on it: {cause}", where="trial.device", given=name, fix="use auto or cpu"
        ) from error
    return device
