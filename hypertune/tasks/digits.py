"""The 1,797 handwritten digits of scikit-learn: 8 x 8 grey images, ten classes.

A reduced form of the UCI data set Optical Recognition of Handwritten Digits (Alpaydin, Kaynak 1998).
"""

from __future__ import annotations

from sklearn.datasets import load_digits

from hypertune.tasks._arrays import array_task
from hypertune.tasks.contract import Task

__all__ = ["TASK", "digits"]


def digits(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: ``(1, 8, 8)`` images in [0, 1] with background 0, so that shifting in zeros is neutral.

    Args:
        n_train: Training images; what the other splits leave (60%) by default.
        n_val: Validation images; 20% by default.
        n_test: Test images; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: A size or the seed is out of range.
    """
    images, classes = load_digits(return_X_y=True)
    return array_task(
        "digits",
        "classification",
        images.reshape(-1, 1, 8, 8) / 16.0,
        classes,
        standardize=False,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        split_seed=split_seed,
    )


TASK = digits
