"""The order of weight and tune steps, on an algorithm that only takes notes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from hypertune.errors import TaskError
from hypertune.tasks.contract import Split, TensorSplit
from hypertune.training.batches import Batch, make_batches
from hypertune.training.schedule import Schedule
from hypertune.training.self_tuning import SelfTuningLearner
from hypertune.training.self_tuning_settings import SelfTuningSettings

BATCH = torch.zeros(1, 1)


class Notes:
    """An algorithm whose hyperparameter is the number of its tune steps."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)
        self.events: list[Any] = []
        self.tunes = 0

    def weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        self.events.append("w")
        return torch.tensor(1.0)

    def tune_step(self, x: Tensor, y: Tensor) -> Tensor:
        self.tunes += 1
        self.events.append(x.flatten().int().tolist())
        return torch.tensor(2.0)

    def tuned(self) -> dict[str, float]:
        return {"tunes": float(self.tunes)}

    def state_dict(self) -> dict[str, Any]:
        return {"tunes": self.tunes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tunes = state["tunes"]


def learner(
    tuning: Iterable[Batch] | None = None, *, epochs: int = 10, **options: Any
) -> tuple[SelfTuningLearner, Notes]:
    notes = Notes()
    batches = [(torch.zeros(1, 1), torch.zeros(1))] if tuning is None else tuning
    settings = SelfTuningSettings(**{"warmup": 0.0, **options})
    made = SelfTuningLearner(notes, batches, settings, epochs=epochs, schedule=Schedule(["tunes"]))  # type: ignore[arg-type]
    return made, notes


def numbers(n: int, *, kind: str = "tensors", seed: int = 0) -> Iterable[Batch]:
    x = torch.arange(n, dtype=torch.float32)[:, None]
    split: Split = (
        TensorSplit(x, x)
        if kind == "tensors"
        else DataLoader(TensorDataset(x, x), batch_size=4, shuffle=True, generator=torch.Generator())
    )
    return make_batches(split, batch_size=4, shuffle_seed=seed)


def steps(made: SelfTuningLearner, count: int) -> None:
    for _ in range(count):
        made.step(BATCH, BATCH)


def test_rounds_of_tune_steps_follow_every_so_many_weight_steps() -> None:
    made, notes = learner(train_steps=3, tune_steps=2)
    made.start_epoch(0)
    steps(made, 7)
    assert notes.events == ["w", "w", "w", [0], [0], "w", "w", "w", [0], [0], "w"]
    assert made.schedule.entries() == [(0, {"tunes": 0.0}), (3, {"tunes": 2.0}), (6, {"tunes": 4.0})]


def test_the_count_goes_on_over_epochs_and_through_the_warm_up() -> None:
    made, _ = learner(train_steps=3, warmup=0.2)
    for epoch in range(4):
        made.start_epoch(epoch)
        steps(made, 4)
    # Epochs 0 and 1 are the warm-up: steps 3 and 6 pass, 9, 12 and 15 tune.
    assert made.schedule.steps == (0, 9, 12, 15)


def test_the_step_returns_the_weight_steps_loss() -> None:
    made, _ = learner(train_steps=1)
    made.start_epoch(0)
    assert made.step(BATCH, BATCH).item() == 1.0


@pytest.mark.parametrize("kind", ["tensors", "loader"])
def test_tuning_passes_cover_the_split_in_new_orders(kind: str) -> None:
    made, notes = learner(numbers(10, kind=kind), train_steps=1)
    made.start_epoch(0)
    steps(made, 9)
    batches = [event for event in notes.events if event != "w"]
    passes = [[*chain.from_iterable(batches[start : start + 3])] for start in (0, 3, 6)]
    assert all(sorted(each) == list(range(10)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3


@pytest.mark.parametrize("kind", ["tensors", "loader"])
@pytest.mark.parametrize("done", [0, 1, 2, 3, 4, 7])
def test_a_saved_state_continues_in_the_middle_of_a_pass(kind: str, done: int) -> None:
    first, notes = learner(numbers(10, kind=kind), train_steps=1)
    first.start_epoch(0)
    steps(first, done)
    state = first.state_dict()
    notes.events.clear()
    steps(first, 8)
    second, others = learner(numbers(10, kind=kind, seed=5), train_steps=1)
    second.load_state_dict(state)
    second.start_epoch(0)
    steps(second, 8)
    assert others.events == notes.events
    assert second.schedule.entries() == first.schedule.entries()


def test_a_tuning_split_without_batches_is_an_error_and_no_endless_search() -> None:
    made, _ = learner([], train_steps=1)
    made.start_epoch(0)
    with pytest.raises(TaskError, match="tuning split gave no batch"):
        made.step(BATCH, BATCH)
