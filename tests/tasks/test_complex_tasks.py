"""A user's own complex inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hypertune.errors import TaskError
from hypertune.tasks._adapt import as_task
from hypertune.tasks.contract import TensorSplit


class Streamed(torch.utils.data.Dataset):
    """Examples that are made when asked for, so nothing of them is in memory."""

    classes = ("a", "b")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


def pair(n=12, dtype=torch.complex64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, 5, generator=generator, dtype=dtype), torch.arange(n) % 2


FORMS = {
    "tensors": lambda x, y: (x, y),
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "double precision": lambda x, y: (x.numpy().astype(np.complex128), y.numpy()),
    "TensorDataset": TensorDataset,
    "Dataset": Streamed,
    "Dataset of arrays": lambda x, y: Streamed(x.numpy(), y.numpy()),
    "DataLoader": lambda x, y: DataLoader(Streamed(x, y), batch_size=3),
}


@pytest.mark.parametrize("form", FORMS)
def test_complex_inputs_are_known_as_such(form):
    task = as_task({"train": FORMS[form](*pair()), "val": FORMS[form](*pair(seed=1))}, name="mine")
    assert task.spec.dtype == "complex64"
    assert task.spec.input_shape == (2, 5)
    if isinstance(task.train, TensorSplit):
        assert task.train.x.dtype == torch.complex64


@pytest.mark.parametrize("form", ["tensors", "arrays", "Dataset", "DataLoader"])
def test_real_inputs_are_known_as_such(form):
    x, y = pair(dtype=torch.float32)
    task = as_task({"train": FORMS[form](x, y), "val": FORMS[form](x, y)}, name="mine")
    assert task.spec.dtype == "float32"


def test_one_pair_is_split_as_any_other():
    task = as_task(pair(40), name="mine")
    assert task.spec.dtype == "complex64"
    assert {split.x.dtype for split in (task.train, task.val, task.test)} == {torch.complex64}


@pytest.mark.parametrize("odd", ["val", "test"])
def test_splits_of_different_types_are_refused(odd):
    splits = {name: pair() for name in ("train", "val", "test")}
    splits[odd] = pair(dtype=torch.float32)
    with pytest.raises(TaskError, match="differ in type from the training split") as caught:
        as_task(splits, name="mine")
    assert caught.value.where == f"task.{odd}"
