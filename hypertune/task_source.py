"""The tasks of a study over many: where they come from, and the one order in which all candidates take them.

The user's module and the data are loaded where tasks are used, not where the config is read.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hypertune.config import TasksConfig
from hypertune.errors import ConfigError, TaskError, did_you_mean
from hypertune.objectives import load_task
from hypertune.registry import add_import_folder, load_attribute

if TYPE_CHECKING:
    from hypertune.tasks.contract import Task

__all__ = ["TaskSource", "open_tasks"]

_ENDLESS = 100_000
_FILES = {".csv", ".npz"}


@dataclass(slots=True)
class TaskSource:
    """Tasks by their place in the shared order; each is made when it is first asked for.

    Attributes:
        total: Number of tasks; None while an iterator of unknown length has not ended.
    """

    total: int | None
    _make: Sequence[Callable[[], Any]] | None
    _stream: Iterator[Any] | None
    _known: dict[int, Task]
    _taken: int = 0

    def get(self, index: int) -> Task | None:
        """Return a task, or None when there are no more.

        Raises:
            TaskError: It is no task, or making it fails.
        """
        if index in self._known:
            return self._known[index]
        if self.total is not None and index >= self.total:
            return None
        if self._make is not None:
            self._known[index] = _as_task(self._made(index), index)
            return self._known[index]
        assert self._stream is not None
        while self._taken <= index:
            try:
                made = next(self._stream)
            except StopIteration:
                self.total = self._taken
                return None
            except Exception as error:
                raise _fails(error) from error
            self._known[self._taken] = _as_task(made, self._taken)
            self._taken += 1
            if self._taken > _ENDLESS:
                raise ConfigError("there is no end to them", where="tasks", fix="give tasks.count")
        return self._known[index]

    def _made(self, index: int) -> Any:
        assert self._make is not None
        try:
            return self._make[index]()
        except (ImportError, TypeError, ValueError, KeyError, OSError, RuntimeError) as error:
            raise _fails(error) from error


def open_tasks(config: TasksConfig, folder: Path, *, seed: int) -> TaskSource:
    """Find the tasks of a study.

    A list, and the files of a folder, are shuffled by the seed: the order must not tell anything about utilities. What
    an iterator yields stays in its order, which has to be that of independent draws.

    Args:
        config: The config's ``tasks``.
        folder: Folder that relative paths and the user's modules start from.
        seed: Seed of the study; given to the user's function too, if it takes a ``seed``.

    Raises:
        ConfigError: The module, the folder or an option is missing or wrong, or there are fewer tasks than asked for.
        TaskError: There are fewer than 2 tasks.
    """
    add_import_folder(folder)
    if config.items:
        _refuse_options(config, ())
        make = [partial(load_task, component, folder) for component in config.items]
        return _listed(make, config, seed)
    assert config.name is not None
    if ":" not in config.name:
        return _listed(_files(config, folder), config, seed)
    made = _called(config, seed)
    if isinstance(made, Sequence) and not isinstance(made, str):
        return _listed([partial(_itself, item) for item in made], config, seed)
    if not isinstance(made, Iterable):
        raise ConfigError(
            "yields no tasks",
            where="tasks",
            given=made,
            expected="a function that yields tasks, or a list of tasks",
        )
    if config.count is None and config.hold_out:
        raise ConfigError(
            "held-out tasks are the last ones, and an iterator does not say which those are",
            where="tasks.hold_out",
            given=config.hold_out,
            fix="give tasks.count",
        )
    return TaskSource(config.count, None, iter(made), {})


def _listed(make: Sequence[Callable[[], Any]], config: TasksConfig, seed: int) -> TaskSource:
    count = len(make) if config.count is None else config.count
    if count > len(make):
        raise ConfigError("more tasks than there are", where="tasks.count", given=count, expected=f"up to {len(make)}")
    if count - config.hold_out < 2:
        raise TaskError(
            "too few tasks to search on",
            where="tasks",
            given=f"{count}, {config.hold_out} of them held out",
            expected="at least 2",
            fix="configure more tasks",
        )
    order = np.random.default_rng([seed, 0x7A5C]).permutation(len(make))[:count]
    return TaskSource(count, [make[index] for index in order], None, {})


def _called(config: TasksConfig, seed: int) -> Any:
    assert config.name is not None
    make, options = load_attribute(config.name, where="tasks"), dict(config.options)
    if not callable(make):
        _refuse_options(config, ())
        return make
    known = inspect.signature(make).parameters
    _refuse_options(config, tuple(known))
    if "seed" in known:
        options.setdefault("seed", seed)
    try:
        return make(**options)
    except (ImportError, TypeError, ValueError, KeyError, OSError, RuntimeError) as error:
        raise _fails(error) from error


def _files(config: TasksConfig, folder: Path) -> list[Callable[[], Any]]:
    _refuse_options(config, ("target",))
    path = folder / str(config.name)
    if not path.is_dir():
        raise ConfigError(
            "no folder of that name",
            where="tasks",
            given=config.name,
            expected="my_module:tasks, a folder of .csv and .npz files, or a list",
        )
    files = sorted(file for file in path.iterdir() if file.suffix in _FILES)
    target = config.options.get("target")
    return [partial(_read, file, target) for file in files]


def _read(file: Path, target: str | None) -> dict[str, Any]:
    """One data set: rows of a table with a target column, or arrays ``x`` and ``y``."""
    if file.suffix == ".npz":
        with np.load(file) as arrays:
            if not {"x", "y"} <= set(arrays):
                raise TaskError("has no arrays x and y", where=f"tasks.{file.name}", given=sorted(arrays))
            return {"data": (arrays["x"], arrays["y"])}
    import pandas as pd

    table = pd.read_csv(file)
    return {"data": table, "target": target or table.columns[-1]}


def _itself(item: Any) -> Any:
    return item


def _as_task(made: Any, index: int) -> Task:
    from hypertune.tasks._adapt import as_task

    return as_task(made, name=f"task {index}")


def _refuse_options(config: TasksConfig, known: Sequence[str]) -> None:
    for name, value in config.options.items():
        if name not in known:
            raise ConfigError(
                "no such option",
                where=f"tasks.{name}",
                given=value,
                fix=did_you_mean(name, list(itertools.chain(known, ("name", "items", "count", "hold_out")))),
            )


def _fails(error: BaseException) -> TaskError:
    return TaskError(
        f"the tasks do not load: {type(error).__name__}: {error}",
        where="tasks",
        fix="make the function work by itself first",
    )
