"""Wine recognition: 178 wines, 13 chemical measurements, three cultivars.

Forina et al. 1991, UCI; as shipped with scikit-learn.
"""

from __future__ import annotations

from sklearn.datasets import load_wine

from hypertune.tasks._arrays import array_task
from hypertune.tasks.contract import Task

__all__ = ["TASK", "wine"]


def wine(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: ``(13,)`` inputs, each standardised on the training split.

    Args:
        n_train: Training examples; what the other splits leave (60%) by default.
        n_val: Validation examples; 20% by default.
        n_test: Test examples; 20% by default.
        split_seed: Seed of the stratified split.

    Raises:
        TaskError: A size or the seed is out of range.
    """
    x, y = load_wine(return_X_y=True)
    return array_task(
        "wine",
        "classification",
        x,
        y,
        standardize=True,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        split_seed=split_seed,
    )


TASK = wine
