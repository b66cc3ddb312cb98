"""Dashboards: which figures and tables a person reviews, as files one can edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypertune._yaml import read_yaml
from hypertune.errors import ConfigError, did_you_mean
from hypertune.registry import names

__all__ = ["TABLES", "Dashboard", "dashboard_file", "read_dashboard", "shipped_dashboards"]

TABLES = ("winner", "studies", "failures", "trials")
"""The tables there are; ``trials`` takes columns, states and a limit."""

_KEYS = {"title", "figures", "tables", "filters", "columns"}
_TABLES = ("winner", "failures", "trials")
_TRIALS_KEYS = {"columns", "states", "limit"}
_STATES = ("complete", "pruned", "failed", "interrupted", "running")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A review.

    Attributes:
        title: Heading; empty for the study's name alone.
        figures: Names of figures, or ``my_module:attr`` of one's own, in their order.
        tables: Names of tables, in their order, after the figures.
        columns: Columns of the table of trials, as in an export; ``params.*`` stands for all of a kind.
        states: Trials of which states the table shows.
        limit: Rows of the table at most, the best first; None for all.
        filters: MLflow searches by what they find, with ``{parent_run_id}`` for the study's run.
    """

    title: str = ""
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = _TABLES
    columns: tuple[str, ...] = ("number", "state", "value", "params.*", "metrics.test/*", "epochs", "seconds", "reason")
    states: tuple[str, ...] = _STATES
    limit: int | None = None
    filters: Mapping[str, str] = field(default_factory=dict)


def shipped_dashboards() -> dict[str, Path]:
    """Return the shipped dashboards: name -> file."""
    package = Path(__file__).parent.parent
    # In a wheel the folder lies inside the package; in a checkout beside it.
    folder = next((f for f in (package / "dashboards", package.parent / "dashboards") if f.is_dir()), None)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def dashboard_file(name: str) -> Path:
    """Return the file of a shipped dashboard.

    Raises:
        ConfigError: There is none of that name.
    """
    shipped = shipped_dashboards()
    if name not in shipped:
        raise ConfigError("no such dashboard", where="dashboard", given=name, fix=did_you_mean(name, shipped))
    return shipped[name]


def read_dashboard(source: str | Path) -> Dashboard:
    """Read a dashboard.

    Args:
        source: A shipped name, or the path of a YAML file.

    Raises:
        ConfigError: There is no such dashboard, or it names a key, figure, table, column or state that there is not.
    """
    path = Path(source)
    if path.suffix not in {".yaml", ".yml"}:
        path = dashboard_file(str(source))
    content, _ = read_yaml(path, where="dashboard")
    if not isinstance(content, Mapping):
        raise ConfigError(
            "no mapping", where="dashboard", given=content, expected=f"keys {', '.join(sorted(_KEYS))}", fix="see study"
        )
    _check_keys(content, _KEYS, "dashboard")
    figures = _list(content.get("figures", []), "dashboard.figures")
    _names([name for name in figures if ":" not in str(name)], names("figure"), "dashboard.figures")
    tables, trials = [], {}
    for index, entry in enumerate(_list(content.get("tables", list(_TABLES)), "dashboard.tables")):
        where = f"dashboard.tables.{index}"
        name, options = next(iter(entry.items()), ("", {})) if isinstance(entry, Mapping) else (entry, {})
        tables += _names([name], TABLES, where)
        if options:
            trials = _trials(name, options, where)
    return Dashboard(
        title=str(content.get("title") or ""),
        figures=tuple(map(str, figures)),
        tables=tuple(tables),
        filters={str(key): str(value) for key, value in (content.get("filters") or {}).items()},
        **trials,
    )


def _trials(name: str, options: Any, where: str) -> dict[str, Any]:
    if name != "trials" or not isinstance(options, Mapping):
        raise ConfigError("this table has no options", where=where, given=options, expected=f"the name {name!r} alone")
    _check_keys(options, _TRIALS_KEYS, f"{where}.trials")
    found: dict[str, Any] = {}
    if "columns" in options:
        found["columns"] = tuple(map(str, _list(options["columns"], f"{where}.trials.columns")))
    if "states" in options:
        found["states"] = tuple(_names(options["states"], _STATES, f"{where}.trials.states"))
    limit = options.get("limit")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ConfigError(
            "no number of rows", where=f"{where}.trials.limit", given=limit, expected="a whole number from 1"
        )
    return found | {"limit": limit}


def _check_keys(content: Mapping[Any, Any], known: set[str], where: str) -> None:
    for key in content:
        if key not in known:
            raise ConfigError("unknown key", where=f"{where}.{key}", fix=did_you_mean(key, known))


def _names(given: Any, known: Sequence[str], where: str) -> list[str]:
    for name in _list(given, where):
        if name not in known:
            raise ConfigError("no such name", where=where, given=name, fix=did_you_mean(name, known))
    return list(given)


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise ConfigError("no list", where=where, given=given, fix="write `[one, two]`")
    return given
