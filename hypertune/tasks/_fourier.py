"""A task of images -> the same task on their two-dimensional Fourier transforms."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, Task, TensorSplit

__all__ = ["fourier_task"]


def fourier_task(task: Task, name: str) -> Task:
    """Return a task whose inputs are the spectra of another's images; targets and splits stay.

    The transform is unitary (``norm="ortho"``), so that noise of the images has the same variance in the spectrum, and
    shifted so that frequency 0 lies at ``(height // 2, width // 2)``: low frequencies, which neighbours in an image
    share, are then neighbours in the spectrum.

    Args:
        task: Images ``(channels, height, width)``, in memory.
        name: Name of the new task.
    """

    def transformed(split: Split) -> TensorSplit:
        if not isinstance(split, TensorSplit) or split.x.dim() != 4:
            raise TaskError(
                "not images in memory", where=f"task.{name}", given=type(split).__name__, expected="(n, c, h, w)"
            )
        return TensorSplit(_spectrum(split.x), split.y)

    return replace(
        task,
        spec=replace(task.spec, name=name, dtype="complex64"),
        train=transformed(task.train),
        val=transformed(task.val),
        test=None if task.test is None else transformed(task.test),
    )


def _spectrum(images: Tensor) -> Tensor:
    spectra: Tensor = torch.fft.fft2(images, norm="ortho")
    shifted: Tensor = torch.fft.fftshift(spectra, dim=(-2, -1))
    return shifted.contiguous()
