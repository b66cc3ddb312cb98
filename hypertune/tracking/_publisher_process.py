"""The publisher's process: a quiet, low-priority loop that follows the journal until it is told to end.

Nothing here imports MLflow before `publish` runs: the driver imports this module to start the process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from hypertune._secrets import redact, remember
from hypertune.errors import HypertuneError, TrackingError
from hypertune.records import StudyInfo
from hypertune.tracking.contract import Attachments

__all__ = ["WAITING", "Order", "publish", "still_published"]

WAITING = "waiting for another publisher of the run"

_LOCK_NAME = "publisher.lock"
_POLL = 0.25
_REST = 10.0  # a pause so many times as long as the last write, in which the steps of a trial gather for one call
_LONGEST_REST = 5.0
_MAX_PAUSE = 30.0
_ORPHAN_SECONDS = 30.0  # a publisher whose driver is gone publishes on for this long at most
_STOPPED_SECONDS = 2.0  # one that is told to stop
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
_ENVIRONMENT = {
    # MLflow repeats a request whose answer is lost, which can make a run twice. The loop here looks before it repeats.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to publish where.

    Attributes:
        folder: Run folder.
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        info: The study.
        attachments: What the study's run gets beside its numbers.
        secrets: Values that must not be shown.
        timeout: Seconds to wait for an earlier publisher of the run to end.
        driver: Process to end with.
    """

    folder: str
    uri: str
    experiment: str
    info: StudyInfo
    attachments: Attachments
    secrets: tuple[str, ...]
    timeout: float
    driver: int


def publish(order: Order, pipe: Connection, log: str) -> None:
    """Send ``{"parent_run_id": ..., "experiment_id": ...}`` or an error, then publish until told ``"close"``.

    `WAITING` comes before either while another process publishes the run.
    """
    _quiet(log)
    remember(order.secrets)
    stop = _Stop(order.driver, pipe)
    try:
        with _only_publisher(order, pipe):
            with _short_timeout():
                # Imported here, in the new process: it costs the driver nothing.
                from hypertune.tracking._publishing import Publishing

                # The import overlaps the workers' start; the study's run is only made once there is something to run.
                if not _told_to_begin(pipe):
                    return
                publishing = Publishing(order.folder, order.uri, order.experiment, order.info, order.attachments)
            _send(
                pipe,
                {
                    "parent_run_id": publishing.status.parent_run_id,
                    "experiment_id": publishing.status.experiment_id,
                },
            )
            # Not before: until here the driver waits for this process.
            with suppress(OSError, AttributeError):
                os.nice(5)
            _follow(publishing, stop)
    except HypertuneError as error:
        _print_traceback()
        _send(pipe, error)
        sys.exit(1)
    except Exception as error:
        _print_traceback()
        text = f"{type(error).__name__}: {error}"
        _send(pipe, TrackingError(f"the publisher process broke down: {text}", where="tracking", fix=f"see {log}"))
        sys.exit(1)


def _told_to_begin(pipe: Connection) -> bool:
    try:
        return bool(pipe.recv() == "begin")
    except (EOFError, OSError):
        return False


def _follow(publishing: Any, stop: _Stop) -> None:
    pause = 0.0
    while True:
        stop.look(pause)
        try:
            begin = time.monotonic()
            count = publishing.step(lambda: stop.overdue)
            if stop.asked and not count:
                return
            publishing.sample()
            if stop.asked or publishing.behind(count):
                pause = 0.0
            else:
                pause = max(_POLL, min(_LONGEST_REST, _REST * (time.monotonic() - begin) if count else 0.0))
        except Exception as error:
            _print_traceback()
            publishing.down(error)
            pause = min(_MAX_PAUSE, max(1.0, 2 * pause))
        if stop.overdue:
            sys.exit(1)


class _Stop:
    """Knows whether to end: when the driver says so and all is published, or at a moment when it is gone."""

    def __init__(self, driver: int, pipe: Connection) -> None:
        self.asked = False
        self._deadline = float("inf")
        self._driver = driver
        self._pipe: Connection | None = pipe
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
        signal.signal(signal.SIGTERM, self._on_terminate)

    @property
    def overdue(self) -> bool:
        """Whether to end even though something is not published."""
        return time.monotonic() >= self._deadline

    def look(self, seconds: float) -> None:
        """Wait, but not longer than it takes the driver to say something or to die."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.0, min(end, self._deadline) - time.monotonic())
            if self._pipe is None:
                time.sleep(min(left, _POLL))
            elif self._pipe.poll(min(left, 1.0)):
                self._hear(self._pipe)
                return
            if os.getppid() != self._driver:
                self._end_within(_ORPHAN_SECONDS)
            if time.monotonic() >= min(end, self._deadline):
                return

    def _hear(self, pipe: Connection) -> None:
        try:
            pipe.recv()
            self.asked = True
        except (EOFError, OSError):
            self._pipe = None
            self._end_within(_ORPHAN_SECONDS)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._end_within(_STOPPED_SECONDS)

    def _end_within(self, seconds: float) -> None:
        self.asked = True
        self._deadline = min(self._deadline, time.monotonic() + seconds)


@contextmanager
def _only_publisher(order: Order, pipe: Connection) -> Iterator[None]:
    """Own the run's publishing; tell the driver when that has to wait for another process.

    Raises:
        TrackingError: The other process did not end in time.
    """
    lock = FileLock(Path(order.folder) / _LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _send(pipe, WAITING)
        try:
            lock.acquire(timeout=order.timeout)
        except Timeout:
            raise still_published(order.folder) from None
    try:
        yield
    finally:
        lock.release()


def still_published(folder: str) -> TrackingError:
    """Return the error of a run that another process publishes."""
    return TrackingError(
        "another process still publishes this run",
        where="tracking",
        given=folder,
        fix="wait until it has ended, then resume",
    )


@contextmanager
def _short_timeout() -> Iterator[None]:
    """Tell a user soon that a server does not answer; later, a busy server gets more patience."""
    given = os.environ.get(_TIMEOUT)
    os.environ[_TIMEOUT] = given or "8"
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = given or "60"


def _quiet(log: str) -> None:
    """Send everything this process prints to a file."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")  # MLflow's and its dependencies' own, none about this study
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _print_traceback() -> None:
    print(redact(traceback.format_exc()), file=sys.stderr)


def _send(pipe: Connection, message: object) -> None:
    with suppress(OSError):  # the driver is gone
        pipe.send(message)
