from __future__ import annotations

import sqlite3
from importlib.metadata import distribution
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from hypertune._store_version import _revisions, check_store_version
from hypertune.errors import TrackingError


def made(path: Path, revision: str | None) -> str:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        if revision is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.close()
    return f"sqlite:///{path}"


def test_the_installed_revision_is_the_one_mlflow_asks_for() -> None:
    head, known = _revisions()
    folder = ScriptDirectory(str(distribution("mlflow").locate_file("mlflow/store/db_migrations")))
    assert head == folder.get_current_head()
    assert known == {script.revision for script in folder.walk_revisions()}


def test_an_older_store_is_told_how_to_upgrade(tmp_path: Path) -> None:
    head, known = _revisions()
    uri = made(tmp_path / "a.db", next(revision for revision in known if revision != head))
    with pytest.raises(TrackingError, match=r"ui: the store was made by an older MLflow.*mlflow db upgrade sqlite:///"):
        check_store_version(uri, where="ui")


def test_a_newer_store_is_told_apart(tmp_path: Path) -> None:
    uri = made(tmp_path / "a.db", "ffffffffffff")
    with pytest.raises(TrackingError, match=r"another MLflow than the installed one, probably a newer one"):
        check_store_version(uri, where="tracking.uri")


def test_everything_else_is_left_to_mlflow(tmp_path: Path) -> None:
    head, _ = _revisions()
    check_store_version(made(tmp_path / "same.db", head), where="ui")
    check_store_version(made(tmp_path / "none.db", None), where="ui")
    (tmp_path / "text.db").write_text("no database")
    for uri in (f"sqlite:///{tmp_path}/text.db", f"sqlite:///{tmp_path}/missing.db", "http://host", "postgresql://h/d"):
        check_store_version(uri, where="ui")
