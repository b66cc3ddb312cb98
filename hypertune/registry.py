"""From a name to an object: a shipped module, an entry point, or the user's own ``pkg.mod:attr``.

The file name is the registration: ``families/phnn.py`` with its ``FAMILY`` is the family ``phnn``. Names are listed
without importing anything, and a module is imported when its name is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hypertune.errors import ConfigError, did_you_mean

__all__ = ["KINDS", "Kind", "add_import_folder", "load", "load_attribute", "names"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of named thing: the package whose modules define it and the attribute each module offers."""

    package: str
    attribute: str

    @property
    def entry_point_group(self) -> str:
        """Entry-point group in which other distributions offer things of this kind."""
        return self.package if self.package.count(".") == 1 else f"hypertune.{self.package.rsplit('.', 1)[1]}"


KINDS: dict[str, Kind] = {
    "family": Kind("hypertune.families", "FAMILY"),
    "task": Kind("hypertune.tasks", "TASK"),
    "sampler": Kind("hypertune.samplers", "SAMPLER"),
    "pruner": Kind("hypertune.samplers.pruners", "PRUNER"),
    "runner": Kind("hypertune.runners", "RUNNER"),
    "effect": Kind("hypertune.effects", "EFFECT"),
    "figure": Kind("hypertune.reporting.figures", "FIGURE"),
}


# Modules of a package that hold what its things share, and no thing.
_SHARED = {"contract", "catalogue", "pipeline"}


def names(kind: str) -> list[str]:
    """Return the sorted names of a kind, shipped and from entry points; imports nothing."""
    return sorted({*_shipped(KINDS[kind]), *_entry_points(KINDS[kind])})


def load(kind: str, name: str, *, where: str | None = None) -> Any:
    """Return the object behind a name.

    Args:
        kind: A key of `KINDS`.
        name: A shipped name, an entry point's name, or ``pkg.mod:attr``.
        where: Dotted config path for the error message; the kind by default.

    Raises:
        ConfigError: The name is unknown, or importing it fails.
    """
    where = where or kind
    if ":" in name:
        return load_attribute(name, where=where)
    description = KINDS[kind]
    if name in _shipped(description):
        module = importlib.import_module(f"{description.package}.{name}")
        return getattr(module, description.attribute)
    found = _entry_points(description).get(name)
    if found is not None:
        try:
            return found.load()
        except Exception as error:
            raise ConfigError(
                f"{kind} {name!r} of entry point {found.value!r} does not load: {_cause(error)}",
                where=where,
                fix="repair or uninstall the distribution that offers it",
            ) from error
    raise ConfigError(
        f"unknown {kind} {name!r}",
        where=where,
        expected=f"a name ({', '.join(names(kind))}) or 'my_module:attr'",
        fix=did_you_mean(name, names(kind)),
    )


def load_attribute(reference: str, *, where: str) -> Any:
    """Import ``pkg.mod:attr`` and return the attribute; ``attr`` may be dotted.

    Raises:
        ConfigError: The reference is malformed, the module is missing or fails, or the attribute is missing.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigError(
            "not an import reference",
            where=where,
            given=reference,
            expected="'my_module:attr'",
            fix="name both parts",
        )
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:
        # The module itself missing, or something it imports missing: two different fixes.
        own = isinstance(error, ModuleNotFoundError) and error.name in {
            module_name,
            module_name.split(".")[0],
        }
        raise ConfigError(
            f"module {module_name!r} {'is not found' if own else f'fails on import: {_cause(error)}'}",
            where=where,
            given=reference,
            fix=(
                f"put {module_name.split('.')[0]}.py beside the config file or install it"
                if own
                else f"make `python -c 'import {module_name}'` work in the config file's folder"
            ),
        ) from error
    for part in attribute.split("."):
        if not hasattr(target, part):
            public = [name for name in vars(target) if not name.startswith("_")] if hasattr(target, "__dict__") else []
            raise ConfigError(
                f"{module_name!r} has no {attribute!r}",
                where=where,
                given=reference,
                fix=did_you_mean(part, public, fallback=f"define {part} in {module_name}"),
            )
        target = getattr(target, part)
    return target


def add_import_folder(folder: str | Path) -> None:
    """Put a folder at the front of ``sys.path`` once, so that the user's modules beside a config are found."""
    text = str(folder)
    if text not in sys.path:
        sys.path.insert(0, text)
    importlib.invalidate_caches()


def _shipped(kind: Kind) -> list[str]:
    found = importlib.util.find_spec(kind.package)
    if found is None or found.submodule_search_locations is None:
        return []
    return [
        module.name
        for module in pkgutil.iter_modules(found.submodule_search_locations)
        if not module.ispkg and not module.name.startswith("_") and module.name not in _SHARED
    ]


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.entry_point_group)}


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
