"""The trials of a run as a table for other programs: CSV, Parquet or JSON."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from hypertune.errors import ConfigError, StorageError, did_you_mean
from hypertune.reporting._study import read_study
from hypertune.run_folder import RunFolder

__all__ = ["FORMATS", "export_trials"]


def export_trials(run: RunFolder | Path | str, out: Path | None = None, *, format: str | None = None) -> Path:  # noqa: A002
    """Write one row for each trial: ``number``, ``state``, ``value``, ``params.<name>``, ``tuned.<name>``,
    ``metrics.<name>``, cost and times.

    Args:
        run: Run folder; its study may be running.
        out: The file; ``trials.<format>`` in the run folder by default. An earlier export there is replaced.
        format: ``csv``, ``parquet`` or ``json`` (a list of objects; NaN and infinite values are null). By default what
            the ending of ``out`` says, else ``csv``.

    Returns:
        The file.

    Raises:
        HypertuneError: There is no such format, the folder is no run, or the file cannot be written.
    """
    ending = "" if out is None else out.suffix.lstrip(".").lower()
    chosen = format or (ending if ending in FORMATS else "" if ending else "csv")
    if chosen not in FORMATS:
        raise ConfigError(
            "no such format",
            where="--format",
            given=format or ending,
            expected=", ".join(FORMATS),
            fix=did_you_mean(format or ending, FORMATS),
        )
    folder = run if isinstance(run, RunFolder) else RunFolder(Path(run).resolve())
    frame = read_study(folder).trials
    path = folder.path / f"trials.{chosen}" if out is None else out
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place and then moved there, so that a reader never sees half of it.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=f".{chosen}")
        os.close(descriptor)
        try:
            FORMATS[chosen](frame, Path(temporary))
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"the export cannot be written: {error.strerror or error}",
            where="--out",
            given=str(path),
            fix="free disk space, make the folder writable, or name another file",
        ) from error
    return path


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    columns = {
        name: frame[name].map(_as_text, na_action="ignore").astype("string")
        for name in frame.columns
        # A column of one choice True and another "a" has no type of its own.
        if frame[name].dtype == object and frame[name].dropna().map(type).nunique() > 1
    }
    frame.assign(**columns).to_parquet(path, index=False)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _json(frame: pd.DataFrame, path: Path) -> None:
    rows = [{name: _plain(value) for name, value in row.items()} for row in frame.to_dict(orient="records")]
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, str | bool) or value is None:
        return value
    if pd.isna(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


FORMATS: dict[str, Callable[[pd.DataFrame, Path], None]] = {"csv": _csv, "parquet": _parquet, "json": _json}
"""Writers by format."""
