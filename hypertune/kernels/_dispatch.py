"""Which way an op goes: the Triton kernel or plain PyTorch, and what happens when a kernel does not run.

A public function asks `path` first: on the reference path it computes with plain differentiable PyTorch operators, so
that every transform of PyTorch works; on the Triton path it calls its registered operator. The implementation of the
operator calls `run`, which launches the kernel and falls back for good when Triton fails on this machine.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from hypertune.errors import ConfigError, HypertuneError, did_you_mean

__all__ = ["Chosen", "Path", "choose", "forget", "mode", "path", "run", "taken"]

Path: TypeAlias = Literal["triton", "reference"]
Unless: TypeAlias = str | Callable[[], str | None] | None
T = TypeVar("T")

VARIABLE = "HYPERTUNE_KERNELS"
_MODES = ("auto", "reference", "triton")
# The most elements that 32-bit offsets reach, which need half the registers of 64-bit ones; a last tile may reach
# beyond the tensor by less than 2**16 elements.
_LARGEST = 2**31 - 2**16

# Looked up here, where no program is traced; nothing is imported.
_HAS_TRITON = importlib.util.find_spec("triton") is not None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The path an op takes and why, as one clause."""

    path: Path
    reason: str


_taken: dict[str, Chosen] = {}
_failed: dict[str, str] = {}


def mode() -> str:
    """Return what HYPERTUNE_KERNELS asks for: ``auto`` (by default), ``reference`` or ``triton``.

    ``auto`` takes the kernels where they run and falls back where they fail. ``triton`` raises instead of falling back,
    and in Triton's interpreter (TRITON_INTERPRET=1) also takes tensors on a CPU. ``reference`` launches no kernel.

    Raises:
        ConfigError: It is none of these.
    """
    given = os.environ.get(VARIABLE) or "auto"
    if given not in _MODES:
        raise ConfigError(
            "unknown way to run kernels",
            where=VARIABLE,
            given=given,
            expected=", ".join(_MODES),
            fix=did_you_mean(given, _MODES),
        )
    return given


def path(op: str, *tensors: Tensor, unless: Unless = None, int64_offsets: bool = False) -> Path:
    """Return which way an op goes for these tensors, and note it for `taken`.

    Args:
        op: Name of the op.
        tensors: All its tensor arguments, and any tensor whose size is that of the result.
        unless: Why this call has no kernel, as one clause, where the op knows; None: it has. A function is asked only
            where kernels run: a program that is traced for any size elsewhere stays free of conditions on sizes.
        int64_offsets: Whether the kernels address tensors of 2**31 elements and more rightly.

    Raises:
        ConfigError: HYPERTUNE_KERNELS is none of the modes, or asks for Triton where it is not installed.
    """
    chosen = choose(op, *tensors, unless=unless, int64_offsets=int64_offsets)
    # A traced program keeps the choice; the note would make the trace depend on a global.
    if not torch.compiler.is_compiling():
        _taken[op] = chosen
    return chosen.path


def choose(op: str, *tensors: Tensor, unless: Unless = None, int64_offsets: bool = False) -> Chosen:
    """Return the path and the reason as `path` does, without a note of it."""
    machine = _machine(op, tensors[0].device.type)
    if machine is not None:
        return Chosen("reference", machine)
    if any(tensor.device != tensors[0].device for tensor in tensors):
        return Chosen("reference", "the tensors are on several devices")
    if not int64_offsets and any(tensor.numel() > _LARGEST for tensor in tensors):
        return Chosen("reference", "a tensor has 2**31 elements or more, beyond 32-bit offsets")
    reason = unless() if callable(unless) else unless
    if reason is not None:
        return Chosen("reference", reason)
    # Registered operators have no rule for these; plain operators do.
    if torch.autograd.forward_ad._current_level >= 0:
        return Chosen("reference", "forward-mode differentiation is active")
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return Chosen("reference", "a transform of torch.func is active")
    return Chosen("triton", "in Triton's interpreter" if _interpreted() else "Triton on a GPU")


def run(op: str, triton_call: Callable[[], T], reference_call: Callable[[], T], *tensors: Tensor) -> T:
    """Launch a kernel; on a machine where Triton fails compute the reference instead, now and from then on.

    For the implementations of registered operators. One warning per op and process names the op, the GPU and the
    versions. With HYPERTUNE_KERNELS=triton the failure is raised.

    Args:
        op: Name of the op.
        triton_call: Launches the kernel and returns the result.
        reference_call: Returns the same without Triton. For a random op it must draw the same numbers, since a forward
            pass may have launched what a backward pass cannot.
        tensors: The tensors the kernel reads; on a CPU outside the interpreter the reference is computed.

    Raises:
        HypertuneError: ``triton_call`` found its input wrong.
        torch.OutOfMemoryError: The device is full, which the reference would not help.
    """
    if _machine(op, tensors[0].device.type) is not None:
        return reference_call()
    try:
        return triton_call()
    except (HypertuneError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if mode() == "triton":
            raise
        reason = f"the kernel failed: {type(error).__name__}: {_first_line(error)}"
        _failed[op] = reason
        _taken[op] = Chosen("reference", reason)
        warnings.warn(
            f"kernel {op!r} does not run on {_device(tensors[0].device)} ({_versions()}); PyTorch operators compute it "
            f"from now on, more slowly. {reason}. {VARIABLE}=reference silences this warning.",
            RuntimeWarning,
            stacklevel=2,
        )
        return reference_call()


def taken() -> Mapping[str, Chosen]:
    """Return the path each op took last in this process, and why; empty before the first call."""
    return MappingProxyType(_taken)


def forget() -> None:
    """Forget which ops failed and what was taken, as in a new process."""
    _taken.clear()
    _failed.clear()


def _machine(op: str, device: str) -> str | None:
    """Return why this machine launches no kernel of an op on a device; None: it does."""
    asked = mode()
    if asked == "reference":
        return f"{VARIABLE}=reference"
    if device != "cuda" and not (device == "cpu" and asked == "triton" and _interpreted()):
        return f"tensors on {device}; the kernels need a CUDA or ROCm device"
    if op in _failed:
        return _failed[op]
    if not _HAS_TRITON:
        if asked == "triton":
            raise ConfigError("Triton is not installed", where=VARIABLE, given=asked, fix="pip install triton")
        return "Triton is not installed"
    return None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _device(device: torch.device) -> str:
    if device.type != "cuda":
        return f"the {device.type.upper()}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} (capability {major}.{minor})"


def _versions() -> str:
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = "not installed"
    runtime = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    return f"torch {torch.__version__}, triton {triton}, {runtime}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
