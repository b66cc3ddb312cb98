"""The journal: every event of a run as one JSON line in ``events.jsonl``, the single source of truth for listeners.

A line is written with one `write` call and is complete only with its newline, so that a process killed at any moment
leaves at most one torn line, the last. Opening the journal for appending repairs that line. Non-finite floats are
written the way Python's ``json`` writes them: ``NaN``, ``Infinity``, ``-Infinity``.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from hypertune.errors import StorageError
from hypertune.records import (
    Cost,
    Event,
    Failed,
    Finished,
    Pruned,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)

__all__ = ["JOURNAL_NAME", "Journal", "decode", "encode"]

JOURNAL_NAME = "events.jsonl"

_EVENTS: tuple[type[Event], ...] = (StudyOpened, Started, Reported, Finished, Pruned, Failed, StudyClosed)
_BY_NAME = {kind.__name__: kind for kind in _EVENTS}
_FIELDS: dict[type, tuple[str, ...]] = {
    kind: tuple(kind.__dataclass_fields__) for kind in (*_EVENTS, Report, TrialResult, Cost, StudyInfo)
}


class Journal:
    """An append-only file of events; a listener.

    One process appends, any number of processes read. Nothing is opened for writing before the first `append`, so a
    reader never repairs a line that a writer is about to complete.

    Args:
        path: The file; it and its folder are created by the first `append`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file: io.FileIO | None = None
        self.path = Path(path)

    def __call__(self, event: Event) -> None:
        """Append the event."""
        self.append(event)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Nothing is buffered, so a journal that was not closed is as complete as one that was.
        self.close()

    def append(self, event: Event) -> None:
        """Write one event and hand it to the operating system.

        Raises:
            StorageError: The file cannot be written. The event is not in the journal then, and a later `append` starts
                on a line of its own.
        """
        line = memoryview(encode(event).encode("ascii") + b"\n")
        try:
            if self._file is None:
                self._file = _open_repaired(self.path)
            while line:
                written = self._file.write(line)
                line = line[written or 0 :]
        except KeyboardInterrupt:
            self.close()  # the next append opens the file again and repairs what this one left
            raise
        except OSError as error:
            self.close()
            raise StorageError(
                f"the event journal cannot be written: {error.strerror or error}",
                where="storage",
                given=str(self.path),
                fix="free disk space or make the file writable, then resume the run",
            ) from error

    def read(self, offset: int = 0, limit: int | None = None) -> tuple[list[Event], int]:
        """Return the events of all complete lines from a byte offset on.

        Args:
            offset: Byte offset of the beginning of a line, as returned by an earlier call.
            limit: Stop after the first line that ends this many bytes or more behind ``offset``; None for no limit.

        Returns:
            The events, and the offset behind the last complete line that was read.

        Raises:
            StorageError: The file cannot be read, or a line is not an event.
        """
        events, end = [], offset
        for line, end in self.lines(offset, limit):
            try:
                events.append(decode(line))
            except StorageError as error:
                raise error.at(f"{self.path}, before byte {end}") from error
        return events, end

    def lines(self, offset: int = 0, limit: int | None = None) -> list[tuple[bytes, int]]:
        """Return each complete line from a byte offset on, without its newline, with the offset behind it.

        Raises:
            StorageError: The file cannot be read.
        """
        lines: list[tuple[bytes, int]] = []
        end = offset
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    end += len(line)
                    lines.append((line[:-1], end))
                    if limit is not None and end - offset >= limit:
                        break
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(
                f"the event journal cannot be read: {error.strerror or error}",
                where="storage",
                given=str(self.path),
                fix="make the file readable",
            ) from error
        return lines

    def size(self) -> int:
        """Return the size of the file in bytes; 0 when there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def encode(event: Event) -> str:
    """Return the event as one line of ASCII JSON, without the newline."""
    kind = type(event)
    content: dict[str, Any] = {"event": kind.__name__}
    for name in _FIELDS[kind]:
        content[name] = getattr(event, name)
    return _ENCODER.encode(content)


def decode(line: str | bytes) -> Event:
    """Return the event of a line.

    Raises:
        StorageError: The line is not an event that this version knows.
    """
    try:
        content = json.loads(line)
        kind = _BY_NAME[content.pop("event")]
        for name, build in _NESTED.get(kind, {}).items():
            if name in content:
                content[name] = build(content[name])
        return kind(**content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            "a line of the event journal is not an event",
            given=line[:200],
            expected=f"one of {', '.join(_BY_NAME)} as a JSON object",
            fix="delete the line, or read the journal with the version that wrote it",
        ) from error


def _plain(value: Any) -> Any:
    """Turn what the JSON encoder does not know into what it does."""
    names = _FIELDS.get(type(value))
    if names is not None:
        return {name: getattr(value, name) for name in names}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if callable(getattr(value, "tolist", None)):  # numpy scalars and arrays
        return value.tolist()
    return str(value)


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))


def _result(content: dict[str, Any]) -> TrialResult:
    return TrialResult(**{**content, "cost": Cost(**content["cost"])})


_NESTED: dict[type, dict[str, Callable[[dict[str, Any]], object]]] = {
    StudyOpened: {"info": lambda content: StudyInfo(**content)},
    Reported: {"report": lambda content: Report(**content)},
    Finished: {"result": _result},
    Pruned: {"cost": lambda content: Cost(**content)},
    Failed: {"cost": lambda content: Cost(**content)},
}


def _open_repaired(path: Path) -> io.FileIO:
    """Open for appending behind the last complete line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+", opener=_private) as file:  # `Path.open` takes no opener
        tail = _torn_tail(file)
        if tail:
            try:
                decode(tail)
            except StorageError:
                file.truncate(file.seek(0, os.SEEK_END) - len(tail))
            else:
                file.write(b"\n")  # only the newline was lost
    return io.FileIO(path, "ab")


def _private(path: str, flags: int) -> int:
    """Open a file that, when it is made, only the user can read: parameters may hold what is for no one else."""
    return os.open(path, flags, 0o600)


def _torn_tail(file: io.BufferedRandom, block: int = 65536) -> bytes:
    """Return what stands behind the last newline."""
    position = file.seek(0, os.SEEK_END)
    tail = b""
    while position > 0:
        step = min(block, position)
        position -= step
        file.seek(position)
        head = file.read(step)
        newline = head.rfind(b"\n")
        if newline >= 0:
            return head[newline + 1 :] + tail
        tail = head + tail
    return tail
