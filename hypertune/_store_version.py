"""Whether an SQLite tracking store has the tables of the MLflow that is installed, found without importing MLflow."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import sqlite3
from importlib.metadata import version
from pathlib import Path

from hypertune.errors import TrackingError

__all__ = ["check_store_version"]

_SQLITE = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?]*)")


def check_store_version(uri: str, *, where: str) -> None:
    """Check the version of a store before anything opens it; other stores than SQLite files are not looked at.

    Args:
        uri: MLflow tracking URI.
        where: What the store is to the user, for the error.

    Raises:
        TrackingError: The file is of an older or a newer MLflow, or it is another program's database.
    """
    sqlite = _SQLITE.fullmatch(uri)
    if sqlite is None or not Path(sqlite["path"]).is_file():
        return
    there = _revision(Path(sqlite["path"]))
    if there is None:
        return
    head, known = _revisions()
    if there == head or head is None:
        return
    installed = f"MLflow {version('mlflow')}"
    if there in known:
        raise TrackingError(
            f"the store was made by an older MLflow than the installed one (revision {there}, not {head})",
            where=where,
            given=uri,
            expected=f"a store of {installed}",
            fix=f"copy the file as a backup, then `mlflow db upgrade {uri}`",
        )
    raise TrackingError(
        f"the store was made by another MLflow than the installed one, probably a newer one (revision {there})",
        where=where,
        given=uri,
        expected=f"a store of {installed}",
        fix="install the MLflow that made it, or name another store",
    )


def _revision(file: Path) -> str | None:
    """Return the revision of the tables; None for a file without any, or that cannot be read here."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection,
    ):
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])
    return None


def _revisions() -> tuple[str | None, set[str]]:
    """Return the revision that the installed MLflow wants, and all that it knows how to upgrade from."""
    found = importlib.util.find_spec("mlflow")
    folder = Path(found.origin).parent / "store/db_migrations/versions" if found and found.origin else Path()
    names: set[str] = set()
    replaced: set[str] = set()
    for script in folder.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        own = re.search(r"^revision\s*(?::[^=]+)?=\s*['\"](\w+)", text, re.MULTILINE)
        below = re.search(r"^down_revision\s*(?::[^=]+)?=\s*(.*)$", text, re.MULTILINE)
        if own is not None:
            names.add(own[1])
            replaced.update(re.findall(r"\w{6,}", below[1]) if below else ())
    heads = names - replaced
    return (heads.pop() if len(heads) == 1 else None), names
