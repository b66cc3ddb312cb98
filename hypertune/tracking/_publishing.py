"""The loop of the publisher process: from the journal to the store, through outages and over refused events."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypertune._secrets import redact
from hypertune.errors import HypertuneError, StorageError, TrackingError
from hypertune.records import Event, StudyInfo, StudyOpened
from hypertune.tracking._store import one_line
from hypertune.tracking._system_metrics import SystemMetrics
from hypertune.tracking.contract import Attachments
from hypertune.tracking.journal import JOURNAL_NAME, Journal, decode
from hypertune.tracking.mlflow import MlflowWriter
from hypertune.tracking.status import PublisherStatus

__all__ = ["Publishing"]

_CHUNK = 4 << 20  # bytes of the journal that are read at once
_BATCH = 500  # events that are written between two updates of the status
_MAX_NOTES = 20
_TRIES = 3  # before an event that the store refuses, while it takes others, is skipped


class Publishing:
    """Publishes one run's journal.

    Args:
        folder: Run folder.
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        info: The study.
        attachments: As in `MlflowWriter`.

    Raises:
        TrackingError: The store cannot be used.
    """

    def __init__(
        self,
        folder: str,
        uri: str,
        experiment: str,
        info: StudyInfo,
        attachments: Attachments,
    ) -> None:
        self._folder = folder
        self._journal = Journal(Path(folder) / JOURNAL_NAME)
        opened = self._first_opening()

        def connect() -> MlflowWriter:
            return MlflowWriter(
                uri, experiment, info, opened=opened, attachments=attachments, progress=self._note_activity
            )

        self._connect: Callable[[], MlflowWriter] = connect
        self._writer: MlflowWriter | None = connect()
        store = (redact(uri), redact(experiment))
        before = PublisherStatus.read(folder)
        # The offset only means something for the very run it was written for: not for another store, nor for a run
        # that was deleted there and made again.
        same = before.store == store and before.parent_run_id == self._writer.parent_run_id
        self._status = PublisherStatus(
            offset=before.offset if same else 0,
            skipped=before.skipped if same else (),
            since=time.time(),
            store=store,
            parent_run_id=self._writer.parent_run_id,
            experiment_id=self._writer.experiment_id,
        )
        self._system = SystemMetrics(self._writer.begun) if attachments.system_metrics else None
        self._save()

    @property
    def status(self) -> PublisherStatus:
        """How far it is, as last written."""
        return self._status

    def step(self, enough: Callable[[], bool]) -> int:
        """Publish what the journal has now, up to a chunk; return the number of events that were there.

        Args:
            enough: Asked between two batches whether to leave the rest for another time.

        Raises:
            Exception: The store is down; what was not published stays pending.
        """
        lines = self._journal.lines(self._status.offset, _CHUNK)
        for start in range(0, len(lines), _BATCH):
            if enough():
                break
            self._publish(lines[start : start + _BATCH])
        return len(lines)

    def behind(self, count: int) -> bool:
        """Whether a step of so many events says that the journal grows faster than it is published."""
        return count >= _BATCH

    def sample(self) -> None:
        """Publish a sample of the machine's load, when that is wanted and due; it is lost when the store is down."""
        if self._system is not None:
            with contextlib.suppress(Exception):
                self._connected().log(self._system.due(time.time()))

    def down(self, error: BaseException) -> None:
        """Note that the store cannot be written."""
        since = self._status.since if self._status.state == "down" else time.time()
        cause = error.problem if isinstance(error, HypertuneError) else one_line(error)
        self._status = replace(self._status, state="down", error=cause, since=since)
        with contextlib.suppress(OSError):  # a full disk may be the very reason
            self._save()

    def _publish(self, lines: list[tuple[bytes, int]]) -> None:
        """Write a batch; when that fails although the store is up, event by event, to find the one at fault."""
        events = self._decoded(lines)
        try:
            self._connected().apply(events)
        except Exception:
            self._writer = None  # what the store has of the batch is uncertain: look again before writing again
            self._connected().check()
            for line, end in lines:
                self._publish_one(line)
                self._advance(end)
            return
        self._advance(lines[-1][1])

    def _publish_one(self, line: bytes) -> None:
        for attempt in range(_TRIES):
            events = self._decoded([(line, 0)])
            try:
                self._connected().apply(events)
                return
            except Exception as error:
                cause = error
                self._writer = None
                time.sleep(0.5 * attempt)
                self._connected().check()  # raises when this is an outage
        self._skip(f"{type(events[0]).__name__} of {_subject(events[0])}: {one_line(cause)}")

    def _decoded(self, lines: list[tuple[bytes, int]]) -> list[Event]:
        events = []
        for line, end in lines:
            try:
                events.append(decode(line))
            except StorageError as error:
                self._skip(f"before byte {end} of the journal: {error.problem}")
        return events

    def _skip(self, text: str) -> None:
        if text in self._status.skipped:
            return
        self._status = replace(self._status, skipped=(*self._status.skipped, text)[-_MAX_NOTES:])
        self._connected().note("not published: " + "\n".join(self._status.skipped))

    def _connected(self) -> MlflowWriter:
        if self._writer is None:
            writer = self._connect()
            if writer.parent_run_id != self._status.parent_run_id:
                # The run was deleted in the meantime. Begin again, so that the new one has everything.
                self._status = replace(self._status, parent_run_id=writer.parent_run_id, offset=0)
                self._save()
                raise TrackingError("the study's run is gone from the store; it is published again", where="tracking")
            self._writer = writer
        return self._writer

    def _note_activity(self, text: str) -> None:
        self._status = replace(self._status, activity=text)
        self._save()

    def _advance(self, offset: int) -> None:
        since = self._status.since if self._status.state == "ok" else time.time()
        self._status = replace(self._status, state="ok", error="", since=since, offset=offset, activity="")
        self._save()

    def _save(self) -> None:
        self._status.write(self._folder)

    def _first_opening(self) -> float | None:
        with contextlib.suppress(StorageError):
            for line, _ in self._journal.lines(0, 1):
                event = decode(line)
                return event.time if isinstance(event, StudyOpened) else None
        return None


def _subject(event: Event) -> str:
    number = getattr(event, "number", None)
    return "the study" if number is None else f"trial {number}"
