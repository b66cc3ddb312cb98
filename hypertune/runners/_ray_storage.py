"""A place that the driver and every node can read and write: a shared folder, or a bucket behind fsspec."""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from hypertune.errors import StorageError

__all__ = ["RayStorage", "pointer", "read_pointer"]

_POINTER = b"hypertune: the state is in "


@dataclass(frozen=True, slots=True)
class RayStorage:
    """Files below one path or fsspec URL; picklable.

    Attributes:
        url: The path or URL.
    """

    url: str

    def probe(self) -> str:
        """Write a file and return its URL, for `seen` to look for; `delete` it afterwards.

        Raises:
            StorageError: Nothing can be written there.
        """
        url = self.within(f".probe-{uuid.uuid4().hex}")
        try:
            self.write(url, b"\0")
        except Exception as error:  # each file system has exceptions of its own
            raise StorageError(
                f"the storage cannot be written: {type(error).__name__}: {error}",
                where="runner.storage",
                given=self.url,
                fix="check the path, its permissions and keys, and that the package fsspec needs for it is installed",
            ) from error
        return url

    @staticmethod
    def seen(url: str) -> str:
        """Return why a probe cannot be read here; empty when it can."""
        try:
            file_system, path = fsspec.core.url_to_fs(url)
            return "" if file_system.exists(path) else "what the driver wrote is not there"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    def within(self, *parts: str) -> str:
        """Return the URL of something below."""
        return posixpath.join(self.url, *parts)

    @staticmethod
    def write(url: str, content: bytes) -> None:
        """Write a file, the old or the new whole, whatever happens."""
        file_system, path = fsspec.core.url_to_fs(url)
        file_system.makedirs(posixpath.dirname(path), exist_ok=True)
        if _replaces(file_system):  # object stores show a file once it is complete
            fresh = f"{path}.{uuid.uuid4().hex}.tmp"
            file_system.pipe_file(fresh, content)
            Path(fresh).replace(path)
        else:
            file_system.pipe_file(path, content)

    @staticmethod
    def read(url: str) -> bytes | None:
        """Return a file's content; None when there is none."""
        file_system, path = fsspec.core.url_to_fs(url)
        try:
            content: bytes = file_system.cat_file(path)
        except FileNotFoundError:
            return None
        return content

    @staticmethod
    def delete(url: str) -> None:
        """Delete a file or a folder; what cannot be deleted costs space only."""
        with contextlib.suppress(Exception):
            file_system, path = fsspec.core.url_to_fs(url)
            file_system.rm(path, recursive=True)


def pointer(url: str) -> bytes:
    """Return what stands in a trial's folder instead of a state that is elsewhere."""
    return _POINTER + url.encode()


def read_pointer(content: bytes) -> str | None:
    """Return the URL of a pointer; None when the content is a state itself."""
    return content[len(_POINTER) :].decode() if content.startswith(_POINTER) else None


def _replaces(file_system: Any) -> bool:
    return "file" in (file_system.protocol if isinstance(file_system.protocol, tuple) else (file_system.protocol,))
