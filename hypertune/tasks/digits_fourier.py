"""Two-dimensional Fourier transforms of scikit-learn's digits: complex inputs that need no download.

The images and splits are those of the task ``digits``, so that a complex network on spectra compares with a real one on
images.
"""

from __future__ import annotations

from hypertune.tasks._fourier import fourier_task
from hypertune.tasks.contract import Task
from hypertune.tasks.digits import digits

__all__ = ["TASK", "digits_fourier"]


def digits_fourier(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: complex ``(1, 8, 8)`` spectra, unitary, with frequency 0 at ``[4, 4]``.

    Args:
        n_train: Training images; what the other splits leave (60%) by default.
        n_val: Validation images; 20% by default.
        n_test: Test images; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: A size or the seed is out of range.
    """
    images = digits(n_train=n_train, n_val=n_val, n_test=n_test, split_seed=split_seed)
    return fourier_task(images, "digits_fourier")


TASK = digits_fourier
