"""Which examples are for training, validation and test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypertune.errors import TaskError

__all__ = ["SplitIndices", "check_whole", "split_indices"]

_HELD_OUT = 0.2


class SplitIndices(NamedTuple):
    """Indices of the examples of each split, disjoint."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def split_indices(
    n: int,
    *,
    classes: NDArray[np.int64] | None = None,
    n_train: int | None = None,
    n_val: int | None = None,
    n_test: int | None = None,
    seed: int = 0,
) -> SplitIndices:
    """Split ``n`` examples, 60/20/20 unless sizes are given.

    The examples are put in one random order of which every stretch has close to the overall class proportions. The
    test split is its start, validation follows, training comes last. So the test examples depend on the seed and
    ``n_test`` alone, a smaller ``n_train`` takes a subset of the larger one (a learning curve compares like with
    like), and a class with few examples needs no special case; scikit-learn's ``train_test_split`` offers none of
    the three.

    Args:
        n: Number of examples.
        classes: Class of each example, ``(n,)``, to keep the proportions of; None for a plain random order.
        n_train: Size of the training split; what the others leave by default.
        n_val: Size of the validation split; 20% by default.
        n_test: Size of the test split; 20% by default.
        seed: Seed of the order.

    Raises:
        TaskError: A size or the seed is no whole number in range, or the sizes exceed ``n``.
    """
    for name, value, low in (
        ("n_train", n_train, 1),
        ("n_val", n_val, 1),
        ("n_test", n_test, 1),
        ("split_seed", seed, 0),
    ):
        if value is None and name != "split_seed":
            continue
        check_whole(name, value, low)
    held_out = max(1, round(_HELD_OUT * n))
    val = held_out if n_val is None else n_val
    test = held_out if n_test is None else n_test
    train = n - val - test if n_train is None else n_train
    if train < 1 or train + val + test > n:
        raise TaskError(
            "the splits do not fit into the data",
            where="task",
            given={"n_train": n_train, "n_val": n_val, "n_test": n_test},
            expected=f"at most {n} examples in total, at least one in each split",
            fix="give smaller sizes; a size that is left out counts 20% for n_val and n_test",
        )
    order = _order(n, classes, np.random.default_rng(seed))
    return SplitIndices(
        np.sort(order[test + val : test + val + train]), np.sort(order[test : test + val]), np.sort(order[:test])
    )


def _order(n: int, classes: NDArray[np.int64] | None, generator: np.random.Generator) -> NDArray[np.int64]:
    order = generator.permutation(n)
    if classes is None:
        return order
    # The r-th of a class's m examples goes to position (r + 1/2)/m of the whole; ties keep the random order.
    position = np.empty(n)
    shuffled = np.asarray(classes)[order]
    for label in np.unique(shuffled):
        members = np.flatnonzero(shuffled == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]


def check_whole(name: str, value: object, low: int) -> None:
    """Refuse what is no size (``low`` 1) or seed (``low`` 0).

    Raises:
        TaskError: It is no whole number of at least ``low``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise TaskError(
            "not a size" if low else "not a seed",
            where=f"task.{name}",
            given=value,
            expected=f"a whole number of at least {low}",
        )
