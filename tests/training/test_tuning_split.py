from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, Task, TensorSplit
from hypertune.training.batches import make_batches
from hypertune.training.tuning_split import SMALLEST_PART, reserve_validation, split_validation

Make = Callable[..., Any]


def pair(n: int) -> tuple[Tensor, Tensor]:
    """Example ``i`` is ``[i]`` with target ``10 i``."""
    x = torch.arange(n, dtype=torch.float32)[:, None]
    return x, 10 * x


class Rows(Dataset[Any]):
    def __init__(self, n: int) -> None:
        self.x, self.y = pair(n)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.x[index], self.y[index]


class Flow(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(*pair(40), strict=True)


def read(split: Split) -> list[int]:
    numbers: list[int] = []
    for x, y in make_batches(split, batch_size=7):
        assert torch.equal(y, 10 * x)
        numbers += x.flatten().int().tolist()
    return numbers


def flipped(examples: Any) -> Any:
    x, y = (torch.stack(column) for column in zip(*examples, strict=True))
    return x.flip(0), y.flip(0)


SPLITS: dict[str, Callable[[], Split]] = {
    "tensors": lambda: TensorSplit(*pair(40)),
    "tensor dataset": lambda: TensorDataset(*pair(40)),
    "dataset": lambda: Rows(40),
    "loader": lambda: DataLoader(Rows(40), batch_size=8),
    "shuffled loader": lambda: DataLoader(Rows(40), batch_size=8, shuffle=True),
    "loader of tensors": lambda: DataLoader(TensorDataset(*pair(40)), batch_size=8),
    "own collation": lambda: DataLoader(TensorDataset(*pair(40)), batch_size=8, collate_fn=flipped),
}


@pytest.fixture
def task(make_zero_task: Make) -> Callable[..., Task]:
    def make(val: Split, tune: Split | None = None) -> Task:
        made: Task = make_zero_task()
        return replace(made, val=val, tune=tune)

    return make


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_parts_are_disjoint_and_the_same_every_time(task: Make, kind: str, fraction: float) -> None:
    state = torch.get_rng_state()
    tune, select = split_validation(task(SPLITS[kind]()), fraction)
    assert torch.equal(torch.get_rng_state(), state)
    tuning, selecting = read(tune), read(select)
    assert len(tuning) == 40 * fraction
    assert sorted(tuning + selecting) == list(range(40))
    torch.manual_seed(123)
    again, other = split_validation(task(SPLITS[kind]()), fraction)
    assert sorted(read(again)) == sorted(tuning)
    assert sorted(read(other)) == sorted(selecting)
    # All kinds of splits agree, and the parts are no halves of a sorted file.
    assert sorted(tuning) == sorted(read(split_validation(task(TensorSplit(*pair(40))), fraction)[0]))
    assert max(tuning) > min(selecting)
    assert max(selecting) > min(tuning)


def test_the_parts_never_change(task: Make) -> None:
    # Written down: trials of different processes, machines and versions compare only on the same examples.
    tune, _ = split_validation(task(TensorSplit(*pair(40))), 0.25)
    assert sorted(read(tune)) == [4, 5, 11, 14, 16, 17, 21, 26, 29, 39]


def test_what_is_reserved_neither_tunes_nor_selects(task: Make) -> None:
    reserved, rest = reserve_validation(task(TensorSplit(*pair(60))), 0.25)
    tune, select = split_validation(task(rest), 0.5)
    assert len(read(reserved)) == 15
    assert sorted(read(reserved) + read(tune) + read(select)) == list(range(60))
    with pytest.raises(TaskError, match=r"trial\.reserve"):
        reserve_validation(task(TensorSplit(*pair(60))), 0.1)


def test_a_loader_keeps_its_collation_and_batches(task: Make) -> None:
    tune, select = split_validation(task(SPLITS["own collation"]()), 0.5)
    for part in (tune, select):
        assert isinstance(part, DataLoader)
        assert (part.batch_size, part.collate_fn) == (8, flipped)
    assert isinstance(select.sampler, SequentialSampler)  # type: ignore[union-attr]
    first = [x.flatten().tolist() for x, _ in make_batches(tune, batch_size=8, shuffle_seed=1)]
    assert first == [x.flatten().tolist() for x, _ in make_batches(tune, batch_size=8, shuffle_seed=1)]
    assert first != [x.flatten().tolist() for x, _ in make_batches(tune, batch_size=8, shuffle_seed=2)]


def test_examples_that_a_loaders_sampler_leaves_out_stay_out(task: Make) -> None:
    # Training and validation loaders over one data set: dividing all of it would select on training examples.
    loader = DataLoader(Rows(100), batch_size=8, sampler=SubsetRandomSampler(range(60, 100)))
    tune, select = split_validation(task(loader), 0.5)
    assert sorted(read(tune) + read(select)) == list(range(60, 100))


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(Rows(40), sampler=WeightedRandomSampler([1.0] * 20 + [0.0] * 20, 40)),
        lambda: DataLoader(Rows(40), sampler=RandomSampler(Rows(40), replacement=True)),
        lambda: DataLoader(Rows(40), sampler=RandomSampler(Rows(40), num_samples=20)),
        lambda: DataLoader(Rows(40), sampler=list(range(20))),
        lambda: DataLoader(Rows(40), batch_sampler=BatchSampler(list(range(20)), 5, False)),
    ],
)
def test_a_sampler_whose_choice_is_not_known_is_refused(task: Make, loader: Make) -> None:
    with pytest.raises(TaskError, match="sampler") as caught:
        split_validation(task(loader()), 0.5)
    assert caught.value.where == "task.val"
    assert "`tune` split" in str(caught.value)


def test_a_tuning_split_of_the_tasks_own_is_used_as_it_is(task: Make) -> None:
    val, tune = TensorSplit(*pair(3)), Flow()
    assert split_validation(task(val, tune), 0.9) == (tune, val)


@pytest.mark.parametrize("stream", [lambda: Flow(), lambda: DataLoader(Flow(), batch_size=4)])
def test_streams_are_refused_without_one(task: Make, stream: Make) -> None:
    with pytest.raises(TaskError, match="cannot be divided") as caught:
        split_validation(task(stream()), 0.5)
    assert caught.value.where == "task.val"
    assert "`tune` split" in str(caught.value)


@pytest.mark.parametrize(("n", "fraction"), [(2 * SMALLEST_PART - 1, 0.5), (100, 0.07), (100, 0.93), (0, 0.5)])
def test_too_few_examples_are_refused(task: Make, n: int, fraction: float) -> None:
    with pytest.raises(TaskError, match="too few") as caught:
        split_validation(task(TensorSplit(*pair(n))), fraction)
    assert caught.value.where == "task.val"
    assert f"{n} examples" in str(caught.value)


def test_the_smallest_that_works(task: Make) -> None:
    tune, select = split_validation(task(Rows(2 * SMALLEST_PART)), 0.5)
    assert len(read(tune)) == len(read(select)) == SMALLEST_PART
