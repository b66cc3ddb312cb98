import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypertune.errors import TaskError
from hypertune.tasks._splits import split_indices


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
    stratified=st.booleans(),
)
def test_splits_partition_and_stratify(counts, seed, stratified):
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(classes)
    if n < 5:
        return
    parts = split_indices(n, classes=classes if stratified else None, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(n))
    assert [len(part) for part in parts] == [n - 2 * max(1, round(0.2 * n)), *[max(1, round(0.2 * n))] * 2]
    if stratified:
        for part in parts:
            observed = np.bincount(classes[part], minlength=len(counts))
            expected = len(part) / n * np.array(counts)
            # A stretch of the order rounds at its two ends, for the class and, through the size, for the others.
            assert (np.abs(observed - expected) <= 2).all()


def test_every_class_is_in_training():
    classes = np.array([0] * 30 + [1] * 3 + [2] * 2 + [3])
    for seed in range(20):
        assert set(classes[split_indices(len(classes), classes=classes, seed=seed).train]) == {0, 1, 2, 3}


def test_membership_is_random_inside_a_class():
    classes = np.repeat([0, 1], 50)
    counts = np.zeros(100)
    for seed in range(400):
        counts[split_indices(100, classes=classes, seed=seed).test] += 1
    # Each example is in the test split with probability 0.2: 80 +- 8; six standard errors.
    assert counts.min() > 32
    assert counts.max() < 128


def test_the_held_out_splits_do_not_depend_on_n_train_and_smaller_ones_are_subsets():
    classes = np.arange(100) % 3
    whole = split_indices(100, classes=classes)
    small = split_indices(100, classes=classes, n_train=10)
    assert np.array_equal(whole.val, small.val)
    assert np.array_equal(whole.test, small.test)
    assert set(small.train) < set(whole.train)


def test_seed_decides():
    first, again, other = (split_indices(50, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.test, other.test)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_examples(n):
    with pytest.raises(TaskError, match="do not fit"):
        split_indices(n)


def test_three_examples_are_enough():
    assert [len(part) for part in split_indices(3)] == [1, 1, 1]


def test_sizes_may_not_exceed_the_data():
    with pytest.raises(TaskError, match="at most 10 examples"):
        split_indices(10, n_train=7, n_val=2, n_test=2)
    assert [len(part) for part in split_indices(10, n_train=6, n_val=2, n_test=2)] == [6, 2, 2]
