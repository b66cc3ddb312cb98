"""scikit-learn's handwritten digits as sequences of patches, for models of tokens.

The same images and the same splits as the task ``digits``, cut into squares.
"""

from __future__ import annotations

from sklearn.datasets import load_digits

from hypertune.errors import TaskError
from hypertune.tasks._arrays import array_task
from hypertune.tasks.contract import Task

__all__ = ["TASK", "digits_patches"]

_SIDE = 8
_PATCHES = (1, 2, 4)


def digits_patches(
    *,
    patch_size: int = 2,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: ``(patch_size ** 2, patches)`` grey values in [0, 1], the patches in reading order.

    A patch is one position of a sequence and its cells are the channels, also in reading order: the layout of any
    signal, ``(channels, length)``.

    Args:
        patch_size: Side of a patch: 1, 2 or 4 cells, for 64, 16 or 4 patches.
        n_train: Training images; what the other splits leave (60%) by default.
        n_val: Validation images; 20% by default.
        n_test: Test images; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: The patch size is another, or a size or the seed is out of range.
    """
    if type(patch_size) is not int or patch_size not in _PATCHES:
        raise TaskError(
            "the images do not divide into such patches",
            where="task.patch_size",
            given=patch_size,
            expected=f"one of {', '.join(map(str, _PATCHES))}",
            fix="use 2 for 16 patches of 4 cells",
        )
    images, classes = load_digits(return_X_y=True)
    per_side = _SIDE // patch_size
    # (image, row of patches, row of cells, column of patches, column of cells)
    cells = images.reshape(-1, per_side, patch_size, per_side, patch_size)
    patches = cells.transpose(0, 2, 4, 1, 3).reshape(len(images), patch_size**2, per_side**2)
    return array_task(
        "digits_patches",
        "classification",
        patches / 16.0,
        classes,
        standardize=False,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        split_seed=split_seed,
    )


TASK = digits_patches
