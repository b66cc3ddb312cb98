from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, TensorSplit
from hypertune.training import batches as module
from hypertune.training.batches import first_batch, make_batches


class Numbers(Dataset[Any]):
    """Example ``i`` is ``([i, i], i)`` as numpy arrays and Python numbers, the types users return."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read.append(index)
        return np.array([index, index], dtype=np.float64), index


class Streamed(IterableDataset[Any]):
    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        return ((torch.full((2,), float(i)), i) for i in range(self.n))


class Doubled(TensorDataset):
    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        x, y = super().__getitem__(index)
        return 2 * x, y


def tensors(n: int) -> tuple[Tensor, Tensor]:
    return torch.arange(n).repeat(2, 1).T.float(), torch.arange(n)


SPLITS: dict[str, Callable[[int], Split]] = {
    "tensors": lambda n: TensorSplit(*tensors(n)),
    "tensor_dataset": lambda n: TensorDataset(*tensors(n)),
    "subset": lambda n: Subset(TensorDataset(*tensors(n + 3)), range(n)),
    "dataset": Numbers,
}


def epoch(batches: Any) -> list[list[int]]:
    seen = []
    for x, y in batches:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert (x == y[:, None]).all()
        seen.append(y.tolist())
    return seen


@pytest.mark.parametrize("kind", SPLITS)
def test_without_a_seed_the_order_is_the_splits(kind: str) -> None:
    assert epoch(make_batches(SPLITS[kind](7), batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("kind", SPLITS)
def test_shuffled_epochs_differ_repeat_with_the_seed_and_lose_nothing(kind: str) -> None:
    def two(seed: int) -> list[list[list[int]]]:
        batches = make_batches(SPLITS[kind](20), batch_size=6, shuffle_seed=seed)
        return [epoch(batches), epoch(batches)]

    first, second = two(1)
    assert [len(batch) for batch in first] == [6, 6, 6, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(20))
    assert first != second
    assert two(1) == [first, second]
    assert two(2)[0] != first


@pytest.mark.parametrize("kind", SPLITS)
def test_global_random_state_is_left_alone(kind: str) -> None:
    batches = make_batches(SPLITS[kind](20), batch_size=6, shuffle_seed=0)
    before = torch.get_rng_state()
    epoch(batches)
    epoch(make_batches(SPLITS[kind](20), batch_size=6))
    first_batch(SPLITS[kind](20), batch_size=2)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(7, 3, [3, 3]), (8, 3, [3, 3, 2]), (1, 3, [1]), (3, 1, [1, 1, 1]), (6, 3, [3, 3])]
)
def test_a_single_last_example_is_dropped_on_request(kind: str, n: int, batch_size: int, sizes: list[int]) -> None:
    for seed in (None, 3):
        batches = make_batches(SPLITS[kind](n), batch_size=batch_size, shuffle_seed=seed, drop_single=True)
        assert [len(batch) for batch in epoch(batches)] == sizes


def test_the_dropped_example_is_another_one_each_epoch() -> None:
    batches = make_batches(SPLITS["tensors"](7), batch_size=3, shuffle_seed=0, drop_single=True)
    dropped = {*range(7)} - {*chain(*epoch(batches))}
    assert any({*range(7)} - {*chain(*epoch(batches))} != dropped for _ in range(10))


def test_a_split_too_large_to_live_on_the_device_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = epoch(make_batches(SPLITS["tensors"](20), batch_size=6, shuffle_seed=1))
    monkeypatch.setattr(module, "_RESIDENT_BYTES", 0)
    assert epoch(make_batches(SPLITS["tensors"](20), batch_size=6, shuffle_seed=1)) == expected


def test_tensors_are_taken_as_they_are() -> None:
    split = TensorSplit(torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    x, y = next(iter(make_batches(split, batch_size=2)))
    assert x.dtype == y.dtype == torch.float64


def test_a_loader_keeps_its_own_batches_and_collation() -> None:
    def collate(examples: list[Any]) -> tuple[Tensor, Tensor]:
        numbers = torch.tensor([number for _, number in examples])
        return numbers.float()[:, None].repeat(1, 2), numbers

    loader = DataLoader(Numbers(5), batch_size=2, collate_fn=collate)
    assert epoch(make_batches(loader, batch_size=100, shuffle_seed=1)) == [[0, 1], [2, 3], [4]]
    assert epoch(make_batches(loader, batch_size=100, drop_single=True)) == [[0, 1], [2, 3]]


def test_a_loaders_own_generator_does_not_carry_over_to_the_next_trial() -> None:
    loader = DataLoader(Numbers(20), batch_size=6, shuffle=True, generator=torch.Generator().manual_seed(9))
    runs = [epoch(make_batches(loader, batch_size=6, shuffle_seed=4)) for _ in range(2)]
    assert runs[0] == runs[1]
    assert epoch(make_batches(loader, batch_size=6, shuffle_seed=5)) != runs[0]


def test_a_streamed_dataset_keeps_its_order() -> None:
    batches = make_batches(Streamed(5), batch_size=2, shuffle_seed=1)
    assert epoch(batches) == epoch(batches) == [[0, 1], [2, 3], [4]]


def test_a_subclass_of_tensor_dataset_is_asked_for_its_examples() -> None:
    x, y = next(iter(make_batches(Doubled(*tensors(4)), batch_size=4)))
    assert x[:, 0].tolist() == (2 * y).tolist()


@pytest.mark.parametrize(
    ("split", "given"),
    [
        (TensorSplit(torch.zeros(3, 1), torch.zeros(2)), "shape (3, 1), a tensor of shape (2,)"),
        (DataLoader([torch.zeros(2)] * 3, batch_size=2), "a tensor of shape (2, 2)"),  # type: ignore[arg-type]
        (DataLoader([(1.0, 2.0, 3.0)] * 3), "list of"),  # type: ignore[arg-type]
        (DataLoader([{"x": 1.0}] * 3), "a dict"),  # type: ignore[arg-type]
        (DataLoader([(1.0, 2.0)], collate_fn=lambda examples: (torch.zeros(1), [1])), "list of a int"),  # type: ignore[arg-type]
    ],
)
def test_a_batch_that_is_no_pair_is_described(split: Split, given: str) -> None:
    for read in (lambda: first_batch(split, batch_size=2), lambda: list(make_batches(split, batch_size=2))):
        with pytest.raises(TaskError, match="no pair") as caught:
            read()
        assert given in str(caught.value)


@pytest.mark.parametrize("kind", SPLITS)
def test_first_batch_is_the_first_examples(kind: str) -> None:
    x, y = first_batch(SPLITS[kind](7), batch_size=2)
    assert x.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert y.tolist() == [0, 1]
    assert len(first_batch(SPLITS[kind](1), batch_size=2)[0]) == 1


def test_first_batch_of_a_loader_reads_two_examples_and_starts_no_worker() -> None:
    dataset = Numbers(100)
    loader = DataLoader(dataset, batch_size=50, shuffle=True, num_workers=2)
    assert first_batch(loader, batch_size=2)[1].tolist() == [0, 1]
    assert dataset.read == [0, 1]  # read by this process


@pytest.mark.parametrize("streamed", [Streamed(5), DataLoader(Streamed(5), batch_size=4)])
def test_first_batch_of_a_stream(streamed: Split) -> None:
    assert first_batch(streamed, batch_size=2)[1].tolist() == [0, 1]


@pytest.mark.parametrize("split", [TensorSplit(*tensors(0)), Numbers(0), Streamed(0), DataLoader(Numbers(0))])
def test_first_batch_of_nothing(split: Split) -> None:
    with pytest.raises(TaskError, match="no examples"):
        first_batch(split, batch_size=2)


def test_double_precision_of_a_dataset_becomes_single():
    for given, wanted in ((torch.float64, torch.float32), (torch.complex128, torch.complex64)):
        pairs = [(torch.zeros(3, dtype=given), index) for index in range(4)]
        for x, y in make_batches(pairs, batch_size=2, device="cpu"):
            assert (x.dtype, y.dtype) == (wanted, torch.int64)
