"""A user's data in every accepted form, and every refusal with its message."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from hypertune.errors import TaskError
from hypertune.tasks._adapt import as_task
from hypertune.tasks._losses import accuracy, cross_entropy, squared_error
from hypertune.tasks.contract import TensorSplit
from hypertune.tasks.wine import wine


class Pairs(Dataset):
    """A plain dataset of the user's own."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Stream(IterableDataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __iter__(self):
        return iter(zip(self.x, self.y, strict=True))


def numbers(n=12, features=3):
    return np.random.default_rng(0).normal(size=(n, features))


def classes(n=12, count=3):
    return np.arange(n) % count


def given(**options):
    """A valid mapping, with some of it replaced."""
    return {"train": (numbers(), classes()), "val": (numbers(6), classes(6)), **options}


def refused(candidate):
    with pytest.raises(TaskError) as caught:
        as_task(candidate, name="mine")
    return caught.value


# Forms


def test_a_task_is_returned_as_it_is():
    task = wine()
    assert as_task(task, name="mine") is task


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (torch.tensor(x), torch.tensor(y)),
        lambda x, y: (x, y),
        lambda x, y: [x.tolist(), y.tolist()],
        lambda x, y: (pd.DataFrame(x), pd.Series(y)),
        lambda x, y: (pd.DataFrame(x), pd.DataFrame({"y": y})),
        lambda x, y: (x.astype(np.float32), y[:, None].astype(np.uint8)),
        lambda x, y: (torch.tensor(x).half().double(), torch.tensor(y, dtype=torch.int32)),
        lambda x, y: TensorSplit(torch.tensor(x), torch.tensor(y)),
        lambda x, y: TensorDataset(torch.tensor(x), torch.tensor(y)),
    ],
)
def test_pairs_of_every_kind_become_the_same_tensors(form):
    x, y = numbers(), classes()
    x = x.astype(np.float16).astype(np.float64)  # exact in every precision
    task = as_task({"train": form(x, y), "val": form(x[:6], y[:6]), "test": form(x[6:], y[6:])}, name="mine")
    assert (task.spec.name, task.spec.kind, task.spec.input_shape, task.spec.output_size) == (
        "mine",
        "classification",
        (3,),
        3,
    )
    for split, (a, b) in {"train": (0, 12), "val": (0, 6), "test": (6, 12)}.items():
        data = getattr(task, split)
        assert isinstance(data, TensorSplit)
        assert torch.equal(data.x, torch.tensor(x[a:b], dtype=torch.float32))
        assert torch.equal(data.y, torch.tensor(y[a:b]))
    assert task.loss is cross_entropy
    assert task.metrics == {"accuracy": accuracy}


def test_test_may_be_missing():
    assert as_task(given(), name="mine").test is None
    assert as_task(given(test=None), name="mine").test is None


def test_float_targets_are_a_regression():
    y = np.random.default_rng(1).normal(size=12)
    task = as_task(given(train=(numbers(), y), val=(numbers(6), pd.Series(y[:6]))), name="mine")
    assert (task.spec.kind, task.spec.output_size) == ("regression", 1)
    assert task.train.y.dtype == torch.float32
    assert torch.equal(task.train.y[:6], task.val.y)
    np.testing.assert_allclose(task.train.y[:, 0], y, rtol=1e-6)
    assert task.loss is squared_error
    assert set(task.metrics) == {"rmse", "r2"}


def test_several_real_targets():
    y = pd.DataFrame(numbers(12, 2), columns=["a", "b"])
    task = as_task(given(train=(numbers(), y), val=(numbers(6), y[:6])), name="mine")
    assert task.spec.output_size == 2
    np.testing.assert_allclose(task.train.y, y, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "c"], [1, 0, 2]),
        ([10, 3, 7], [2, 0, 1]),
        ([-1, 1, 0], [0, 2, 1]),
        (pd.Series(["b", "a", "c"], dtype="category"), [1, 0, 2]),
        (pd.Series(["b", "a", "c"], dtype="string"), [1, 0, 2]),
        (pd.Series(["b", "a", "c"], dtype=object), [1, 0, 2]),
        (pd.Series([5, 2, 9], dtype="Int64"), [1, 0, 2]),
        (pd.Series(pd.Categorical(["b", "a", "c"], categories=["c", "b", "a", "unused"])), [1, 0, 2]),
        (np.array(["b", "a", "c"]), [1, 0, 2]),
        (np.array([True, False, True]), [1, 0, 1]),
        (torch.tensor([True, False, True]), [1, 0, 1]),
        (pd.Series([True, False, True]), [1, 0, 1]),
    ],
)
def test_classes_are_numbered_in_sorted_order(labels, expected):
    task = as_task({"train": (numbers(3), labels), "val": (numbers(3), labels)}, name="mine")
    assert task.train.y.tolist() == expected
    assert task.val.y.tolist() == expected
    assert task.spec.output_size == len(set(expected))
    assert task.spec.kind == "classification"


def test_the_coding_comes_from_training():
    task = as_task({"train": (numbers(3), [2, 4, 9]), "val": (numbers(2), [9, 4])}, name="mine")
    assert task.val.y.tolist() == [2, 1]


def test_with_output_size_integers_are_class_indices():
    task = as_task({"train": (numbers(3), [2, 4, 2]), "val": (numbers(2), [0, 4]), "output_size": 6}, name="mine")
    assert task.spec.output_size == 6
    assert task.train.y.tolist() == [2, 4, 2]
    assert task.val.y.tolist() == [0, 4]


def test_kind_decides_when_given():
    whole = classes()
    task = as_task(given(kind="regression"), name="mine")
    assert task.train.y[:, 0].tolist() == whole.tolist()
    task = as_task(
        {"train": (numbers(), whole.astype(float)), "val": (numbers(), whole * 1.0), "kind": "classification"},
        name="mine",
    )
    assert task.train.y.tolist() == whole.tolist()


def test_images_keep_their_shape_and_token_indices_their_type():
    images = np.zeros((12, 3, 4, 5), dtype=np.uint8)
    task = as_task(given(train=(images, classes()), val=(images[:6], classes(6))), name="mine")
    assert task.spec.input_shape == (3, 4, 5)
    assert task.train.x.dtype == torch.float32
    tokens = torch.randint(0, 9, (12, 7))
    task = as_task(given(train=(tokens, classes()), val=(tokens[:6], classes(6))), name="mine")
    assert task.train.x.dtype == torch.int64


def test_complex_inputs_stay_complex():
    x = numbers() + 1j * numbers()
    for form in (x, torch.tensor(x)):
        assert as_task(given(train=(form, classes()), val=(form, classes())), name="m").train.x.dtype == torch.complex64


def test_data_are_not_standardised():
    x = numbers() * 100 + 1000
    task = as_task(given(train=(x, classes())), name="mine")
    np.testing.assert_allclose(task.train.x, x, rtol=1e-6)


def test_own_loss_metrics_and_shape():
    def loss(outputs, targets):
        return (outputs[:, 0] - targets) ** 2

    def metric(outputs, targets):
        return outputs.mean()

    task = as_task(given(loss=loss, metrics={"mean": metric}, input_shape=[3]), name="mine")
    assert task.loss is loss
    assert task.metrics == {"mean": metric}
    assert as_task(given(metrics={}), name="mine").metrics == {}


# One set of data, split here


def frame(n=50):
    labels = np.where(np.arange(n) % 5 == 0, "yes", "no")
    return pd.DataFrame({"a": np.arange(n), "b": numbers(n)[:, 0], "label": labels})


@pytest.mark.parametrize(
    "candidate",
    [
        {"data": frame(), "target": "label"},
        {"data": (frame()[["a", "b"]], frame()["label"])},
        (frame()[["a", "b"]], frame()["label"]),
    ],
)
def test_one_table_is_split_60_20_20_stratified_and_always_the_same(candidate):
    task, again = as_task(candidate, name="mine"), as_task(candidate, name="mine")
    splits = (task.train, task.val, task.test)
    assert [len(split) for split in splits] == [30, 10, 10]
    assert [int(split.y.sum()) for split in splits] == [6, 2, 2]
    seen = torch.cat([split.x[:, 0] for split in splits]).int().tolist()
    assert sorted(seen) == list(range(50))
    for split in splits:
        assert torch.equal(split.y, (split.x[:, 0] % 5 == 0).long())  # rows and labels stay together
    assert torch.equal(task.train.x, again.train.x)


def test_one_table_with_a_real_target():
    task = as_task({"data": frame()[["a", "b"]], "target": "b"}, name="mine")
    assert (task.spec.kind, task.spec.input_shape, len(task.train)) == ("regression", (1,), 30)


# Datasets and loaders


def test_a_dataset_stays_one_and_its_first_example_is_looked_at():
    x, y = torch.randn(12, 1, 4, 4), torch.arange(12) % 3
    train = Pairs(x, y)
    task = as_task({"train": train, "val": Pairs(x, y)}, name="mine")
    assert task.train is train
    assert (task.spec.kind, task.spec.input_shape, task.spec.output_size) == ("classification", (1, 4, 4), 3)


def test_a_loader_stays_one_and_its_first_batch_is_looked_at():
    loader = DataLoader(Pairs(torch.randn(12, 5), torch.arange(12) % 4), batch_size=5, shuffle=True)
    task = as_task({"train": loader, "val": loader, "test": (torch.randn(2, 5), [0, 3])}, name="mine")
    assert task.train is loader
    assert (task.spec.input_shape, task.spec.output_size) == ((5,), 4)
    assert task.test.y.tolist() == [0, 3]


def test_a_dataset_of_a_regression():
    x, y = numbers(), np.random.default_rng(1).normal(size=12)
    train, val = Pairs(x, y), Pairs(x, y.tolist())
    task = as_task({"train": train, "val": val}, name="mine")
    assert task.train is train
    assert task.val is val
    assert (task.spec.kind, task.spec.input_shape, task.spec.output_size) == ("regression", (3,), 1)
    assert as_task({"train": Pairs(x, numbers(12, 2)), "val": (x, numbers(12, 2))}, name="m").spec.output_size == 2


def test_read_only_arrays_are_no_trouble():
    x, y = numbers(), np.random.default_rng(1).normal(size=12)
    x.flags.writeable = y.flags.writeable = False
    task = as_task({"train": Pairs(x, y), "val": (x, y), "test": (pd.DataFrame(x), pd.Series(y))}, name="mine")
    assert torch.equal(task.val.x, task.test.x)
    task.test.x.zero_()  # belongs to the task alone
    assert x.any()


def test_double_precision_targets_of_a_loader_leave_the_loss_in_single():
    loader = DataLoader(Pairs(torch.randn(8, 2), np.ones(8)), batch_size=4)
    task = as_task({"train": loader, "val": loader}, name="mine")
    assert task.spec.kind == "regression"
    _, y = next(iter(task.train))
    assert task.loss(torch.zeros(4, 1), y).tolist() == [1, 1, 1, 1]


def test_classes_of_a_dataset_are_counted_without_reading_it_where_it_tells():
    x = torch.randn(12, 3)
    torchvision_like = Pairs(x, torch.zeros(12, dtype=torch.int64))
    torchvision_like.classes = ["a", "b", "c", "d"]
    assert as_task({"train": Subset(torchvision_like, [0, 1]), "val": torchvision_like}, name="m").spec.output_size == 4
    with_targets = Pairs(x, torch.zeros(12, dtype=torch.int64))
    with_targets.targets = [0, 1, 2, 3, 4]
    assert as_task({"train": with_targets, "val": with_targets}, name="m").spec.output_size == 5


def test_an_iterable_dataset_needs_the_number_of_classes():
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])
    for source in (Stream(x, y), DataLoader(Stream(x, y), batch_size=2)):
        assert "add 'output_size'" in str(refused({"train": source, "val": (x, y)}))
        assert as_task({"train": source, "val": (x, y), "output_size": 2}, name="m").spec.output_size == 2


def test_looking_does_not_shift_random_numbers():
    loader = DataLoader(Pairs(torch.randn(12, 5), torch.arange(12) % 4), batch_size=5, shuffle=True)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    as_task({"train": loader, "val": loader}, name="mine")
    assert torch.equal(torch.rand(3), expected)


# Refusals: the form


@pytest.mark.parametrize("candidate", [None, 3, "digits", [1, 2, 3], wine, (1, 2), ("a", "b")])
def test_what_is_no_task(candidate):
    error = refused(candidate)
    assert error.where == "task"
    assert "'train'" in str(error)


def test_unknown_key_gets_a_suggestion():
    error = refused(given(tets=(numbers(), classes())))
    assert error.where == "task.tets"
    assert "did you mean 'test'?" in str(error)


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_split(split):
    candidate = given()
    del candidate[split]
    assert refused(candidate).where == f"task.{split}"
    assert refused(given(**{split: None})).where == f"task.{split}"


@pytest.mark.parametrize("extra", [{"data": frame(), "target": "label"}, {"target": "label"}])
def test_two_forms_at_once(extra):
    assert "exclude each other" in str(refused(given(**extra)))


@pytest.mark.parametrize("split", [3, "a", (numbers(),), {"x": 1}, numbers])
def test_what_is_no_split(split):
    assert refused(given(train=split)).where == "task.train"


@pytest.mark.parametrize(
    ("candidate", "where", "text"),
    [
        ({"data": frame()}, "task.data", "add 'target'"),
        ({"data": numbers(), "target": "label"}, "task.data", "DataFrame"),
        ({"data": frame(), "target": "lable"}, "task.target", "did you mean 'label'?"),
    ],
)
def test_one_table_without_its_target(candidate, where, text):
    error = refused(candidate)
    assert error.where == where
    assert text in str(error)


# Refusals: the data


@pytest.mark.parametrize(
    ("train", "where", "text"),
    [
        ((numbers(0), []), "task.train.x", "empty"),
        ((np.zeros((4, 0)), [0, 1, 0, 1]), "task.train.x", "empty"),
        ((numbers(5), classes(4)), "task.train", "5 inputs, 4 targets"),
        ((np.zeros(4), [0, 1, 0, 1]), "task.train.x", "x[:, None]"),
        ((np.array([["a"], ["b"]]), [0, 1]), "task.train.x", "not an array of numbers"),
        (([[1.0, 2.0], [3.0]], [0, 1]), "task.train.x", "not an array of numbers"),
        ((object(), [0, 1]), "task.train.x", "not an array of numbers"),
        ((frame(), classes(50)), "task.train.x", "'label' is not numeric"),
        (
            (numbers(3), ["a", None, "b"]),
            "task.train.y",
            "1 targets are missing (NaN) or infinite, the first in example 1",
        ),
        ((numbers(3), [0.5, np.nan, 1.0]), "task.train.y", "missing"),
        ((numbers(3), torch.tensor([0.5, np.inf, 1.0])), "task.train.y", "infinite"),
        ((numbers(3), pd.Series([1, None, 2], dtype="Int64")), "task.train.y", "missing"),
        ((numbers(3), pd.Series(["a", "b", None], dtype="category")), "task.train.y", "example 2"),
        ((numbers(3), pd.date_range("2024-01-01", periods=3)), "task.train.y", "unsupported"),
        ((numbers(3), pd.Series(pd.date_range("2024-01-01", periods=3, tz="UTC"))), "task.train.y", "unsupported"),
        ((numbers(3), torch.zeros(3, dtype=torch.complex64)), "task.train.y", "unsupported type"),
        ((numbers(3), pd.Series(["a", 1, "b"])), "task.train.y", "mixed"),
        ((numbers(3), [[0, 1], [1]]), "task.train.y", "not an array"),
        ((numbers(3), np.zeros((3, 2, 2))), "task.train.y", "wrong shape"),
        ((numbers(3), np.eye(3, dtype=int)), "task.train.y", "argmax"),
        ((numbers(3), [1, 1, 1]), "task.train.y", "one class"),
        ((numbers(200), np.arange(200)), "task.train.y", "classes or quantities"),
    ],
)
def test_bad_training_data(train, where, text):
    error = refused(given(train=train))
    assert error.where == where
    assert text in str(error)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("form", [np.asarray, torch.tensor, lambda x: pd.DataFrame(x, columns=list("abc"))])
def test_missing_inputs_are_located(bad, form):
    x = numbers()
    x[4, 1] = x[7, 2] = bad
    error = refused(given(val=(form(x), classes())))
    assert error.where == "task.val.x"
    assert "2 inputs are missing (NaN) or infinite, the first in example 4" in str(error)
    if isinstance(form(x), pd.DataFrame):
        assert "column 'b'" in str(error)


def test_missing_values_of_nullable_columns_are_found():
    x = pd.DataFrame({"a": pd.Series([1, None, 3], dtype="Int64")})
    assert "column 'a'" in str(refused(given(train=(x, [0, 1, 0]))))


def test_classes_that_training_never_saw():
    error = refused(given(val=(numbers(3), [0, 5, 7])))
    assert error.where == "task.val.y"
    assert "[5, 7]" in str(error)


def test_text_classes_in_val_with_numbers_in_train():
    assert "['a', 'b']" in str(refused(given(val=(numbers(2), ["a", "b"]))))


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"kind": "clasification"}, "task.kind"),
        ({"loss": "mse"}, "task.loss"),
        ({"loss": torch.nn.CrossEntropyLoss()}, "task.loss"),
        ({"metrics": ["accuracy"]}, "task.metrics"),
        ({"metrics": {"accuracy": 1}}, "task.metrics"),
        ({"output_size": 0}, "task.output_size"),
        ({"output_size": True}, "task.output_size"),
        ({"output_size": 2}, "task.train.y"),
        ({"input_shape": (4,)}, "task.input_shape"),
        ({"input_shape": 3}, None),
        ({"val": (numbers(6, 2), classes(6))}, "task.val"),
        ({"val": (numbers(6), numbers(6)[:, 0])}, "task.val.y"),
        ({"kind": "classification", "train": (numbers(), numbers()[:, 0])}, "task.train.y"),
        ({"kind": "regression", "train": (numbers(2), ["a", "b"])}, "task.train.y"),
        ({"kind": "regression", "output_size": 2}, "task.train.y"),
        ({"train": (numbers(2), ["a", "b"]), "output_size": 5}, "task.output_size"),
    ],
)
def test_options_and_splits_that_do_not_fit(options, where):
    if where is None:
        assert as_task(given(**options), name="mine").spec.input_shape == (3,)
    else:
        assert refused(given(**options)).where == where


def test_a_regression_with_another_number_of_targets_in_val():
    candidate = {"train": (numbers(), numbers(12, 2)), "val": (numbers(), numbers(12, 3))}
    assert "3 per example" in str(refused(candidate))


# Refusals: Datasets and loaders


@pytest.mark.parametrize(
    ("train", "where", "text"),
    [
        (Pairs([], []), "task.train", "empty"),
        (DataLoader(Pairs([], [])), "task.train", "empty"),
        (Stream([], []), "task.train", "empty"),
        (TensorDataset(torch.randn(4, 2)), "task.train", "not (x, y) pairs"),
        (Pairs(["a"], [0]), "task.train", "ToTensor"),
        (Pairs(torch.zeros(3), [0, 1, 0]), "task.train", "x[None]"),
        (Pairs(torch.zeros(2, 3), ["a", "b"]), "task.train.y", "class indices"),
        (Pairs(torch.zeros(2, 3), [-1, 2]), "task.train.y", "from 0"),
        (Pairs(torch.zeros(2, 3), [0, 0, 1][:1]), "task.train", "IndexError"),
    ],
)
def test_bad_datasets(train, where, text):
    if text == "IndexError":
        train.y = []
    error = refused(given(train=train))
    assert error.where == where
    assert text in str(error)


def test_a_dataset_without_length():
    class NoLength(Dataset):
        def __getitem__(self, index):
            return torch.zeros(3), 0

    assert "__len__" in str(refused(given(train=NoLength())))


# A split to tune hyperparameters on


def test_a_tuning_split_is_coded_as_training_is():
    made = as_task(given(tune=(numbers(4), np.array([2, 0, 2, 1]))), name="mine")
    assert isinstance(made.tune, TensorSplit)
    assert made.tune.y.tolist() == [2, 0, 2, 1]
    assert made.tune.x.dtype == torch.float32
    text = as_task(
        {
            "train": (numbers(4), ["b", "a", "c", "a"]),
            "val": (numbers(2), ["a", "b"]),
            "tune": (numbers(2), ["c", "b"]),
        },
        name="mine",
    )
    assert text.tune.y.tolist() == [2, 1]


def test_without_one_there_is_none():
    assert as_task(given(), name="mine").tune is None
    assert as_task(given(tune=None), name="mine").tune is None
    assert as_task((numbers(50), classes(50)), name="mine").tune is None
    assert wine().tune is None


def test_a_tuning_stream_stays_one():
    stream = Stream(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64))
    made = as_task(given(tune=stream), name="mine")
    assert made.tune is stream


@pytest.mark.parametrize(
    ("tune", "where"),
    [
        ((numbers(4, features=5), classes(4)), "tune"),
        ((numbers(4), classes(3)), "task.tune"),
        ((numbers(4), np.full(4, 9)), "task.tune"),
        ((numbers(0), classes(0)), "task.tune"),
        (3, "task.tune"),
    ],
)
def test_a_tuning_split_that_does_not_fit_is_named(tune, where):
    error = refused(given(tune=tune))
    assert where in str(error)


def test_a_misspelt_tuning_split_gets_a_suggestion():
    assert "did you mean 'tune'" in str(refused(given(tunes=(numbers(4), classes(4)))))
