"""Opens the MLflow tracking store and the experiment, or says in one line why that does not work."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from hypertune._secrets import redact
from hypertune._store_version import check_store_version
from hypertune.errors import TrackingError

__all__ = ["one_line", "open_store", "used_store"]

# Without it MLflow's pages are those for language model applications.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_SQLITE_SECONDS = 5.0  # how long to wait for another process's lock on the database
_SQLITE = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?]*)")
_EXPECTED = "sqlite:///path/mlflow.db, or the URL of a running MLflow server"
_LOST = re.compile(
    r"Connection refused|Name or service not known|[Tt]imed out|No route to host|Network is unreachable"
    r"|Connection reset by peer|Remote end closed connection|Broken pipe|Connection aborted"
)
_DATABASE = re.compile(r"(postgresql|mysql|mssql)(\+\w+)?://")


def open_store(uri: str, experiment: str, *, artifacts: Path) -> tuple[MlflowClient, str]:
    """Return a client of the store and the id of the experiment, both made when they do not exist.

    An SQLite database is made in WAL mode, which makes its commits several times cheaper. An experiment in a database
    that no server stands in front of keeps its artifacts beside the database, or in ``artifacts``, never in the current
    directory.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        artifacts: Folder of the artifacts of an experiment made in a database that is no file.

    Raises:
        TrackingError: The URI is not valid, the store cannot be reached or written, it is of another MLflow version, or
            the experiment is deleted.
    """
    location: str | None = None
    check_store_version(uri, where="tracking.uri")
    if not uri.strip() or ":memory:" in uri:
        raise TrackingError("not a store that lasts", where="tracking.uri", given=uri, expected=_EXPECTED)
    try:
        with contextlib.ExitStack() as stack:
            sqlite = _SQLITE.fullmatch(uri)
            if sqlite is not None:
                database = Path(sqlite["path"]).absolute()
                stack.enter_context(_prepared_sqlite(database))
                location = (database.parent / "artifacts").as_uri()
            elif _DATABASE.match(uri):
                location = artifacts.absolute().as_uri()
            client = MlflowClient(uri)
            return client, _experiment_id(client, experiment, location)
    except TrackingError:
        raise
    except Exception as error:
        unknown = "unsupported URI" in str(error)
        raise TrackingError(
            "MLflow knows no store of this kind"
            if unknown
            else f"the tracking store cannot be used: {one_line(error)}",
            where="tracking.uri",
            given=uri,
            expected=_EXPECTED,
            fix=_fix(uri, error),
        ) from error


@contextlib.contextmanager
def used_store(uri: str) -> Iterator[None]:
    """Use the store for MLflow's functions that know no client."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return the cause of an error as one line without secrets; of a lost connection, only what happened to it."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    lost = _LOST.search(text)
    if lost is not None and len(text) > limit:
        return f"{lost[0]} ({type(error).__name__})"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _experiment_id(client: MlflowClient, name: str, location: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except MlflowException as error:
            # Another run may have made it in the meantime.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise TrackingError(
                    f"the experiment cannot be made: {one_line(error)}", where="tracking.experiment", given=name
                ) from error
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            "the experiment is deleted",
            where="tracking.experiment",
            given=name,
            fix=f"restore it with `mlflow experiments restore --experiment-id {found.experiment_id}`, or name another",
        )
    return str(found.experiment_id)


@contextlib.contextmanager
def _prepared_sqlite(database: Path) -> Iterator[None]:
    """Hold the database's own lock while MLflow opens it: two processes must not both make its tables."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=60):
        fresh = not database.exists() or database.stat().st_size == 0
        with contextlib.closing(sqlite3.connect(database, timeout=_SQLITE_SECONDS)) as connection:
            if fresh:
                connection.execute("PRAGMA journal_mode=WAL")
            # Fails at once on a file that is read-only, locked or no database; MLflow would retry for minutes.
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        yield


def _fix(uri: str, error: Exception) -> str:
    text = str(error)
    if "out-of-date database schema" in text:
        return "back the database up, then `mlflow db upgrade` it, or use the MLflow that made it"
    if "locked" in text:
        return "stop the process that holds the database, or name another file"
    if isinstance(error, (sqlite3.Error, OSError)) and uri.startswith("sqlite"):
        return "make the file and its folder writable, or name another file"
    if uri.startswith("http"):
        return "start the server (`mlflow server --host ... --port ...`) or correct the URL, or set `tracking: none`"
    return "name a SQLite file, or the URL of a server"
