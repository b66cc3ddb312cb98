import numpy as np
import pytest
import torch

from hypertune.tasks._arrays import array_task
from hypertune.tasks._splits import split_indices

SIZES = {"n_train": None, "n_val": None, "n_test": None, "split_seed": 0}


def data(n=50):
    generator = np.random.default_rng(0)
    return generator.normal(5, 3, size=(n, 4)), generator.normal(-2, 7, size=n)


def test_moments_come_from_the_training_split_only():
    x, y = data()
    indices = split_indices(len(x))
    task = array_task("t", "regression", x, y, standardize=True, **SIZES)
    for split, chosen in zip((task.train, task.val, task.test), indices, strict=True):
        for given, raw in ((split.x, x), (split.y[:, 0], y)):
            train = raw[indices.train]
            expected = (raw[chosen] - train.mean(axis=0)) / train.std(axis=0)
            np.testing.assert_allclose(given.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_outlier_outside_training_moves_nothing_in_training():
    x, y = data()
    before = array_task("t", "regression", x, y, standardize=True, **SIZES)
    indices = split_indices(len(x))
    x[indices.val[0]] = y[indices.test[0]] = 1e6
    after = array_task("t", "regression", x, y, standardize=True, **SIZES)
    assert torch.equal(before.train.x, after.train.x)
    assert torch.equal(before.train.y, after.train.y)
    assert after.val.x.max() > 1e4


def test_without_standardising_inputs_are_as_given():
    x, y = data()
    task = array_task("t", "regression", x, y, standardize=False, **SIZES)
    np.testing.assert_allclose(task.test.x.numpy(), x[split_indices(len(x)).test], rtol=1e-6)


def test_a_constant_feature_stays_finite():
    x, y = data()
    x[:, 1] = 3
    task = array_task("t", "regression", x, y, standardize=True, **SIZES)
    assert torch.equal(task.train.x[:, 1], torch.zeros(len(task.train)))


def test_rmse_is_scaled_back():
    x, y = data()
    task = array_task("t", "regression", x, y, standardize=True, **SIZES)
    deviation = y[split_indices(len(x)).train].std()
    assert task.metrics["rmse"](task.val.y + 2, task.val.y).item() == pytest.approx(2 * deviation, rel=1e-5)
