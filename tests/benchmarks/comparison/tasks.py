"""The tasks of the benchmark: data, network, search space, and what a full trial is.

A seed stands for one repetition of the whole experiment: it draws the split of the data, and everything random in the
search. All methods of one seed see the same split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch.nn import functional

from comparison.networks import PERCEPTRON
from hypertune.families.cnn import FAMILY as CNN
from hypertune.families.contract import Family
from hypertune.families.phnn import FAMILY as PHNN
from hypertune.records import Params
from hypertune.space import SearchSpace
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.tasks.diabetes import diabetes
from hypertune.tasks.digits import digits
from hypertune.tasks.mnist5k import mnist5k
from hypertune.training.settings import TrainingSettings

__all__ = ["TASKS", "BenchmarkTask"]


@dataclass(frozen=True, slots=True)
class BenchmarkTask:
    """One task of the comparison.

    Attributes:
        name: Name in the table.
        data: Makes the learning task of a seed.
        family: The network.
        space: What is searched; ``self_tune`` marks what can be tuned inside a trial.
        fixed: Hyperparameters that are not searched.
        start: A cautious configuration, for a method that has to start somewhere.
        epochs: Epochs of a full trial.
        batch_size: Examples in a batch.
    """

    name: str
    data: Callable[[int], Task]
    family: Family
    space: SearchSpace
    fixed: Params
    start: Params
    epochs: int
    batch_size: int = 100

    def settings(self, epochs: int, **further: Any) -> TrainingSettings:
        """Return the training settings of a trial of so many epochs."""
        return TrainingSettings(epochs=epochs, batch_size=self.batch_size, device="cpu", **further)


def _real(low: float, high: float, *, log: bool = False, self_tune: bool = True) -> dict[str, Any]:
    return {"type": "float", "low": low, "high": high, "log": log, "self_tune": self_tune}


def _standardised(task: Task, *, centre: bool) -> Task:
    """Divide by the training pixels' standard deviation, after subtracting their mean if asked to."""
    assert isinstance(task.train, TensorSplit)
    mean, deviation = (task.train.x.mean() if centre else 0.0), task.train.x.std()

    def moved(split: Any) -> TensorSplit:
        return TensorSplit((split.x - mean) / deviation, split.y)

    return replace(task, train=moved(task.train), val=moved(task.val), test=moved(task.test))


def _mnist(n_train: int, n_val: int, *, centre: bool) -> Callable[[int], Task]:
    def data(seed: int) -> Task:
        return _standardised(mnist5k(n_train=n_train, n_val=n_val, n_test=3000, split_seed=seed), centre=centre)

    return data


def _small_mnist(seed: int) -> Task:
    """Halve the sides, so that a convolutional network trains in seconds on one core."""
    task = _mnist(1000, 500, centre=False)(seed)

    def halved(split: Any) -> TensorSplit:
        return TensorSplit(functional.avg_pool2d(split.x, 2), split.y)

    spec = replace(task.spec, input_shape=(1, 14, 14))
    return replace(task, spec=spec, train=halved(task.train), val=halved(task.val), test=halved(task.test))


def _digits(seed: int) -> Task:
    return _standardised(digits(n_train=300, n_val=500, n_test=997, split_seed=seed), centre=False)


def _diabetes(seed: int) -> Task:
    return diabetes(n_train=150, n_val=142, n_test=150, split_seed=seed)


_DROPOUTS = {name: _real(0.0, 0.9) for name in ("dropout_input", "dropout_1", "dropout_2")}
_DECAY = _real(1e-6, 1e-1, log=True)
# Background is 0 where images are moved: what a shift uncovers is then background too.
_MOVES = {
    "shift": _real(0.0, 0.2),
    "rotate": _real(0.0, 40.0),
    "scale": _real(0.0, 0.4),
    "erase": _real(0.0, 0.5),
}
_NO_MOVES = dict.fromkeys(_MOVES, 0.05) | {"rotate": 5.0}
_SGD: Mapping[str, Any] = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9}
_SMALL_DROPOUTS = dict.fromkeys(_DROPOUTS, 0.05)


@dataclass(frozen=True, slots=True)
class _Table:
    tasks: dict[str, BenchmarkTask] = field(default_factory=dict)

    def add(
        self, name: str, data: Callable[[int], Task], family: Family, space: Mapping[str, Any], **rest: Any
    ) -> None:
        self.tasks[name] = BenchmarkTask(name, data, family, SearchSpace.from_mapping(space), **rest)


_table = _Table()
_table.add(
    "mnist-mlp-5",
    _mnist(1000, 1000, centre=True),
    PERCEPTRON,
    {**_DROPOUTS, "input_noise": _real(0.0, 1.5), "weight_decay": _DECAY},
    fixed=_SGD,
    start={**_SMALL_DROPOUTS, "input_noise": 0.05, "weight_decay": 1e-4},
    epochs=60,
)
_table.add(
    "mnist-mlp-12",
    _mnist(1000, 1000, centre=False),
    PERCEPTRON,
    {
        "lr": _real(5e-3, 0.2, log=True, self_tune=False),
        "momentum": _real(0.5, 0.98, self_tune=False),
        **_DROPOUTS,
        "input_noise": _real(0.0, 1.5),
        "weight_decay": _DECAY,
        "label_smoothing": _real(0.0, 0.3),
        **_MOVES,
    },
    fixed={"optimizer": "sgd"},
    start={
        "lr": 0.05,
        "momentum": 0.9,
        **_SMALL_DROPOUTS,
        "input_noise": 0.05,
        "weight_decay": 1e-4,
        "label_smoothing": 0.02,
        **_NO_MOVES,
    },
    epochs=30,
)
_table.add(
    "mnist-cnn",
    _small_mnist,
    CNN,
    {
        "lr": _real(2e-3, 5e-2, log=True, self_tune=False),
        "dropout": _real(0.0, 0.6),
        "input_noise": _real(0.0, 0.7),
        "weight_decay": _DECAY,
        "label_smoothing": _real(0.0, 0.3),
        **_MOVES,
    },
    fixed={"optimizer": "adam", "lr_schedule": "cosine", "width": 8, "depth": 2},
    start={
        "lr": 1e-2,
        "dropout": 0.05,
        "input_noise": 0.05,
        "weight_decay": 1e-4,
        "label_smoothing": 0.02,
        **_NO_MOVES,
    },
    epochs=15,
    batch_size=50,
)
_table.add(
    "digits-phnn",
    _digits,
    PHNN,
    {
        "lr": _real(2e-3, 5e-2, log=True, self_tune=False),
        "dropout": _real(0.0, 0.6),
        "input_noise": _real(0.0, 0.7),
        "weight_decay": _real(1e-6, 1e-2, log=True),
        "label_smoothing": _real(0.0, 0.3),
        "shift": _real(0.0, 0.15),  # of eight pixels
        "rotate": _real(0.0, 30.0),
    },
    fixed={"optimizer": "adam", "lr_schedule": "cosine", "n": 4, "width": 8, "depth": 2},
    start={
        "lr": 1e-2,
        "dropout": 0.05,
        "input_noise": 0.05,
        "weight_decay": 1e-4,
        "label_smoothing": 0.02,
        "shift": 0.05,
        "rotate": 5.0,
    },
    epochs=25,
    batch_size=25,
)
_table.add(
    "diabetes-mlp",
    _diabetes,
    PERCEPTRON,
    {
        "lr": _real(1e-3, 0.1, log=True, self_tune=False),
        **_DROPOUTS,
        "input_noise": _real(0.0, 1.5),
        "weight_decay": _real(1e-5, 1.0, log=True),
    },
    fixed={"optimizer": "sgd", "momentum": 0.9, "width": 64},
    start={"lr": 0.01, **_SMALL_DROPOUTS, "input_noise": 0.05, "weight_decay": 1e-3},
    epochs=60,
    batch_size=25,
)

TASKS: Mapping[str, BenchmarkTask] = _table.tasks
"""Task by name."""
