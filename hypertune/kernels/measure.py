"""Which path the kernels take on this machine, and on a GPU how fast they are beside what the roofline predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hypertune import kernels
from hypertune.kernels import _dispatch
from hypertune.kernels._roofline import Prediction, predict
from hypertune.kernels.contract import Kernel, Workload

__all__ = ["Measured", "measure", "paths"]


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of one forward and backward pass: medians, with a cold cache.

    Attributes:
        kernel: Name of the op.
        workload: Label of the size.
        seconds: By the op.
        eager: By its reference in eager PyTorch.
        compiled: By its reference under ``torch.compile``; None where that fails.
        predicted: For the roofline's GPU, not for this one.
    """

    kernel: str
    workload: str
    seconds: float
    eager: float
    compiled: float | None
    predicted: Prediction

    def __str__(self) -> str:
        compiled = "fails" if self.compiled is None else _micro(self.compiled)
        predicted = f"{_micro(self.predicted.seconds)}, {self.predicted.ratio:.1f}x eager"
        return (
            f"{self.workload}: {_micro(self.seconds)}, {self.eager / self.seconds:.1f}x eager ({_micro(self.eager)}; "
            f"torch.compile {compiled}); predicted for an H100: {predicted}"
        )


def paths(device: torch.device | None = None) -> dict[str, _dispatch.Chosen]:
    """Run every op once, small, and return the path each took and why; a kernel that fails says so.

    Args:
        device: Where to run; the GPU by default, or the CPU where there is none.
    """
    device = device or _device()
    for name in kernels.names():
        kernel = kernels.load(name)
        _pass(kernel.op, kernel.example(0, torch.float32, device))
    taken = _dispatch.taken()
    return {name: taken[name] for name in kernels.names()}


def measure(device: torch.device) -> list[Measured]:
    """Time every workload of every op on a GPU; takes a minute or two, most of it ``torch.compile``'s."""
    return [
        _measured(kernel, size, device) for kernel in map(kernels.load, kernels.names()) for size in kernel.workloads
    ]


def _measured(kernel: Kernel, workload: Workload, device: torch.device) -> Measured:
    arguments = workload.inputs(device)
    try:
        compiled = _seconds(torch.compile(kernel.reference), arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        # A figure to compare with, whose failure is no failure of the kernel.
        compiled = None
    return Measured(
        kernel.name,
        workload.label,
        _seconds(kernel.op, arguments),
        _seconds(kernel.reference, arguments),
        compiled,
        predict(workload.work),
    )


def _seconds(function: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    # Here, because this room is imported on machines without Triton.
    from triton.testing import do_bench

    milliseconds: float = do_bench(lambda: _pass(function, arguments), return_mode="median")
    return milliseconds / 1e3


def _pass(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Forward, and backward to every argument that requires a gradient."""
    outputs = function(*arguments)
    outputs = [each for each in (outputs if isinstance(outputs, tuple) else (outputs,)) if each.requires_grad]
    wanted = [each for each in arguments if isinstance(each, Tensor) and each.requires_grad]
    if outputs and wanted:
        torch.autograd.grad(outputs, wanted, [torch.ones_like(each) for each in outputs], allow_unused=True)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us"
