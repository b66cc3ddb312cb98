"""A worker that runs one trial after another gives each the state that the first one found.

What a trial may leave behind and what undoes it: environment variables, working folder, import path, standard streams,
warning filters, NumPy's error handling, torch's global settings, and the globals of the user's own modules: names that
were bound anew, and the content of lists, dicts, sets and bytearrays. Such a container is copied in depth when it holds
plain values only, and one level deep otherwise. Seeds and CUDA memory are seen to for every runner elsewhere. What a
function caches with ``functools.cache`` stays, so data that trials share is loaded once.
"""

from __future__ import annotations

import contextlib
import copy
import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hypertune.records import TrialResult
from hypertune.runners.contract import MakeObjective
from hypertune.training.trial import Objective, Trial

__all__ = ["Resetting"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray)
_CONTAINERS = (list, dict, set, bytearray)
_MAX_PLAIN = 10_000


@dataclass(frozen=True, slots=True)
class Resetting:
    """Recipe for an objective after which the process is as it was before.

    Attributes:
        make_objective: Recipe for the objective itself; what it sets up is what trials find.
    """

    make_objective: MakeObjective

    def __call__(self) -> Objective:
        """Make the objective.

        Raises:
            HypertuneError: ``make_objective`` raised it.
        """
        objective = self.make_objective()
        before = _State()
        sys.meta_path.insert(0, _Watch(before))

        def reset(trial: Trial) -> TrialResult | float:
            try:
                return objective(trial)
            finally:
                before.restore()

        return reset


class _State:
    """What is global in this process, at one moment; of a module imported later, at the end of its import."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._path = list(sys.path)
        self._streams = (sys.stdout, sys.stderr, sys.stdin)
        self._filters = list(warnings.filters)
        self._numpy_errors = np.geterr()
        self._modules = {
            name: _Globals(module) for name, module in list(sys.modules.items()) if _is_users(name, _file(module))
        }
        self._torch: list[_Setting] = []
        if "torch" in sys.modules:
            self.add_torch()

    def add(self, module: ModuleType) -> None:
        self._modules[module.__name__] = _Globals(module)

    def add_torch(self) -> None:
        self._torch = [_Setting(read, write, read()) for read, write in _torch_settings(sys.modules["torch"])]

    def restore(self) -> None:
        if os.environ != self._environment:
            for name in os.environ.keys() - self._environment.keys():
                del os.environ[name]
            os.environ.update(self._environment)
        with contextlib.suppress(OSError):  # a folder that was deleted
            os.chdir(self._folder)
        sys.path[:] = self._path
        sys.stdout, sys.stderr, sys.stdin = self._streams
        warnings.filters[:] = self._filters  # type: ignore[index]
        np.seterr(**self._numpy_errors)
        for setting in self._torch:
            if setting.read() != setting.value:
                setting.write(setting.value)
        for name, module in self._modules.items():
            module.restore(name)


class _Globals:
    """The globals of one module."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._values = dict(vars(module))
        self._contents = {
            name: _copied(value)
            for name, value in self._values.items()
            if type(value) in _CONTAINERS and not name.startswith("__")
        }

    def restore(self, name: str) -> None:
        sys.modules[name] = self._module  # a trial may have reloaded or removed it
        names = vars(self._module)
        for added in names.keys() - self._values.keys():
            if not isinstance(names[added], ModuleType):  # a submodule that was imported since
                del names[added]
        names.update(self._values)
        for container, content in self._contents.items():
            value = self._values[container]
            if isinstance(value, list | bytearray):
                value[:] = _copied(content)
            else:
                value.clear()
                value.update(_copied(content))


class _Watch(MetaPathFinder):
    """Notes what a module's globals are at the end of its import, for modules that a trial is the first to import."""

    def __init__(self, state: _State) -> None:
        self._state = state

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(name, path, target)
            if found is not None:
                self._note(name, found)
                return found
        return None

    def _note(self, name: str, spec: ModuleSpec) -> None:
        users = _is_users(name, spec.origin if spec.has_location else None)
        execute = getattr(spec.loader, "exec_module", None)
        if execute is None or not (users or name == "torch"):
            return

        def execute_and_note(module: ModuleType) -> None:
            execute(module)
            if users:
                self._state.add(module)
            else:
                self._state.add_torch()

        spec.loader.exec_module = execute_and_note  # type: ignore[union-attr,method-assign]


@dataclass(frozen=True, slots=True)
class _Setting:
    read: Callable[[], Any]
    write: Callable[[Any], object]
    value: Any


def _torch_settings(torch: Any) -> list[tuple[Callable[[], Any], Callable[[Any], object]]]:
    cudnn = torch.backends.cudnn
    return [
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        # Setting the CPU as the default device would slow every operation down; None is the same and does not.
        (
            lambda: None if torch.get_default_device().type == "cpu" else torch.get_default_device(),
            torch.set_default_device,
        ),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        (
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        ),
        (
            lambda: (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
            lambda value: cudnn.set_flags(_enabled=value[0], _benchmark=value[1], _deterministic=value[2]),
        ),
    ]


def _copied(value: Any) -> Any:
    return copy.deepcopy(value) if _is_plain(value, [_MAX_PLAIN]) else copy.copy(value)


def _is_plain(value: Any, budget: list[int]) -> bool:
    """Whether a value is made of builtin values alone, and of few enough of them to be copied after each trial."""
    budget[0] -= 1
    if budget[0] < 0:
        return False
    if type(value) in _PLAIN:
        return True
    if type(value) is dict:
        return all(_is_plain(each, budget) for pair in value.items() for each in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(each, budget) for each in value)
    return False


def _is_users(name: str, file: str | None) -> bool:
    """Whether a module belongs neither to Python, nor to an installed distribution, nor to hypertune."""
    if file is None or name.partition(".")[0] in {"__main__", "__mp_main__", "hypertune"}:
        return False
    return not file.startswith(_INSTALLED)


def _file(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _installed() -> Iterator[str]:
    paths = sysconfig.get_paths()
    for folder in (*(paths[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")), *site.getsitepackages()):
        yield folder.rstrip(os.sep) + os.sep


_INSTALLED = (*_installed(), "<")  # frozen modules call their file <frozen ...>
