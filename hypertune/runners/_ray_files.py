"""A trial's folder on a node, and how what is in it reaches the driver."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from hypertune.records import TRIAL_STATE
from hypertune.runners._ray_storage import RayStorage

__all__ = ["LOG", "HostFolder", "TrialFolder", "append", "write"]

LOG = "log.txt"
_MOST_LOG = 1 << 20
_PREFIX = "hypertune-ray-"
_FRESH_SECONDS = 60.0


class HostFolder:
    """A temporary folder on a node that outlives neither its actor nor, by long, an actor that was killed.

    Attributes:
        path: The folder.
    """

    def __init__(self) -> None:
        """Make the folder, and remove those of actors that could not do so themselves."""
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # The operating system frees the lock of a process that is gone, whatever ended it.
        self._lock = FileLock(self.path / ".lock")
        self._lock.acquire()
        for other in self.path.parent.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError, Timeout):
                if time.time() - other.stat().st_mtime > _FRESH_SECONDS:
                    with FileLock(other / ".lock", timeout=0):
                        shutil.rmtree(other, ignore_errors=True)

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


@dataclass(slots=True)
class TrialFolder:
    """What a trial writes, as far as it was not sent yet.

    Attributes:
        path: The folder on this node.
        url: Where in the storage its files go; empty when they go through Ray.
        state_url: Where in the storage its state goes; empty when it goes through Ray.
    """

    path: Path
    url: str = ""
    state_url: str = ""
    _logged: int = 0
    _state: tuple[int, int] | None = field(default=None)

    def begin(self, state: bytes | None) -> None:
        """Make the folder, with the state that the trial continues from when there is one."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = state if state is not None else RayStorage.read(self.state_url) if self.state_url else None
        if content is not None:
            write(self.path / TRIAL_STATE, content)
            # A state in the storage is there already, one that came from the driver is there too.
            self._state = None if self.state_url and state is not None else _version(self.path / TRIAL_STATE)

    def new_log(self) -> bytes:
        """Return what was printed since the last call, at most a megabyte of it."""
        try:
            with (self.path / LOG).open("rb") as file:
                file.seek(self._logged)
                content = file.read(_MOST_LOG)
        except OSError:
            return b""
        self._logged += len(content)
        return content

    def new_state(self) -> bytes | None:
        """Return the state when it changed since the last call; one that goes to the storage goes there instead."""
        version = _version(self.path / TRIAL_STATE)
        if version is None or version == self._state:
            return None
        try:
            content = (self.path / TRIAL_STATE).read_bytes()
        except OSError:  # the trial ended just now
            return None
        if self.state_url:
            RayStorage.write(self.state_url, content)
        self._state = version
        return None if self.state_url else content

    def end(self) -> dict[str, bytes | None]:
        """Return the files that stay with the run, by relative path; None for the content of one in the storage."""
        files: dict[str, bytes | None] = {}
        for file in sorted(self.path.rglob("*")):
            name = file.relative_to(self.path).as_posix()
            if name in {LOG, TRIAL_STATE} or not file.is_file():
                continue
            content = file.read_bytes()
            if self.url:
                RayStorage.write(f"{self.url}/{name}", content)
            files[name] = None if self.url else content
        if self.state_url:
            RayStorage.delete(self.state_url)
        return files


def write(file: Path, content: bytes) -> None:
    """Write a file, the old or the new whole, whatever happens."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.tmp")
    fresh.write_bytes(content)
    fresh.replace(file)


def append(file: Path, content: bytes) -> None:
    """Write at the end of a file, which is made when there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.write(content)


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
