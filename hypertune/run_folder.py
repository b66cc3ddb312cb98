"""The folder of one run: where everything is, written atomically, owned by one driver at a time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hypertune.errors import ConfigError, StorageError, did_you_mean

__all__ = ["RunFolder"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder.

    ```
    config.yaml      the resolved config, every default spelled out
    space.yaml       the search space it resolved to
    run.json         identity: study id, storage, tracking store
    events.jsonl     every event, written before anything else is
    published.json   how much of it is in MLflow
    result.json      the outcome
    report/          the study report
    trials/0007/     log.txt and the best epoch's weights of trial 7
    ```
    The first four are what a run is continued from. They hold what the config says, credentials included, so only the
    user can read them (mode 0600); everything else has credentials masked.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def space(self) -> Path:
        """The search space."""
        return self.path / "space.yaml"

    @property
    def identity(self) -> Path:
        """What identifies the run."""
        return self.path / "run.json"

    @property
    def journal(self) -> Path:
        """The journal of events."""
        return self.path / "events.jsonl"

    @property
    def result(self) -> Path:
        """The outcome."""
        return self.path / "result.json"

    @classmethod
    def create(cls, root: Path, name: str) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            StorageError: There is such a run, or the folder cannot be written.
        """
        folder = cls(root / name)
        if folder.identity.exists():
            raise StorageError(
                "there is a run of that name",
                where="study.name",
                given=name,
                fix=f"continue it with `hypertune resume {name}`, or start another with `-o study.name=...`",
            )
        with folder._writing():
            folder.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder.path) as probe:
                probe.write(b"\0" * 4096)
        return folder

    @classmethod
    def find(cls, run: str | None, root: Path) -> RunFolder:
        """Find a run by its folder or by its name below ``root``; None means the newest.

        Raises:
            ConfigError: There is no such run.
        """
        if run is not None:
            for path in (Path(run), root / run):
                if cls(path).identity.exists():
                    return cls(path.resolve())
        found = sorted(root.glob("*/run.json"), key=lambda file: file.stat().st_mtime) if root.is_dir() else []
        if run is None and found:
            return cls(found[-1].parent.resolve())
        names = [file.parent.name for file in found]
        nothing = f"there are no runs in {str(root)!r}; start one with `hypertune search config.yaml`"
        if run is None:
            raise ConfigError("no run", where="RUN", fix=nothing)
        raise ConfigError(
            "no such run",
            where="RUN",
            given=run,
            expected="a run's folder, or a name below the runs folder",
            fix=did_you_mean(run, names) if names else nothing,
        )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Own the run while the context lasts.

        Raises:
            StorageError: Another driver owns it; the operating system frees a dead driver's lock.
        """
        lock = FileLock(self.path / "driver.lock")
        try:
            with self._writing():
                lock.acquire(timeout=0)
        except Timeout:
            raise StorageError(
                "another process drives this run",
                where="RUN",
                given=str(self.path),
                fix="wait for it or stop it, then resume",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def write_text(self, file: Path, text: str, *, private: bool = False) -> None:
        """Write a file so that it is always whole: the old content or the new.

        Args:
            file: The file.
            text: Its content.
            private: Whether only the user can read it (mode 0600).

        Raises:
            StorageError: The folder cannot be written.
        """
        with self._writing():
            descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    stream.flush()
                    os.fsync(stream.fileno())
                if not private:
                    os.chmod(temporary, 0o644)  # noqa: PTH101 - mkstemp made it private to the user
                os.replace(temporary, file)  # noqa: PTH105
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
                raise

    def write_json(self, file: Path, content: Mapping[str, Any], *, private: bool = False) -> None:
        """Write strict JSON atomically; arguments as for `write_text`.

        Raises:
            StorageError: The folder cannot be written.
        """
        self.write_text(file, json.dumps(content, indent=2, allow_nan=False) + "\n", private=private)

    def read_json(self, file: Path) -> dict[str, Any]:
        """Read a JSON file of this run.

        Raises:
            StorageError: It is missing or damaged.
        """
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{file.name} cannot be read: {error}", where="RUN", given=str(self.path), fix="name a run's folder"
            ) from error
        return content

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Timeout:
            raise
        except OSError as error:
            raise StorageError(
                f"the run folder cannot be written: {error.strerror or error}",
                where="study.folder",
                given=str(self.path),
                fix="free disk space or make the folder writable; `hypertune resume` then continues",
            ) from error
