"""Diabetes progression: 442 patients, 10 measurements, disease progression one year after baseline (25 to 346).

Efron, Hastie, Johnstone, Tibshirani 2004; as shipped with scikit-learn.
"""

from __future__ import annotations

from sklearn.datasets import load_diabetes

from hypertune.tasks._arrays import array_task
from hypertune.tasks.contract import Task

__all__ = ["TASK", "diabetes"]


def diabetes(
    *,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
) -> Task:
    """Return the task: ``(10,)`` inputs and one target, each standardised on the training split.

    Losses are in standardised units: a loss of 1 is the variance of the training targets. The metric ``rmse`` is in the
    original units of the progression score; ``r2`` has none.

    Args:
        n_train: Training examples; what the other splits leave (60%) by default.
        n_val: Validation examples; 20% by default.
        n_test: Test examples; 20% by default.
        split_seed: Seed of the random split.

    Raises:
        TaskError: A size or the seed is out of range.
    """
    x, y = load_diabetes(return_X_y=True)
    return array_task(
        "diabetes",
        "regression",
        x,
        y,
        standardize=True,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        split_seed=split_seed,
    )


TASK = diabetes
