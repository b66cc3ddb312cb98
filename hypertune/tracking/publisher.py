"""Publishes a run's journal to MLflow from a process of its own.

Importing MLflow takes seconds, and a server can be slow or away for hours; neither may slow or break a search. So the
driver only appends to the journal, and this process follows it. What it could not publish when the run ends stays in
the journal for the next publisher of the run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hypertune.errors import ConfigError, TrackingError
from hypertune.records import StudyInfo
from hypertune.tracking._publisher_process import WAITING, Order, publish, still_published
from hypertune.tracking.contract import Attachments
from hypertune.tracking.status import PublisherStatus

__all__ = ["LOG_NAME", "Publisher"]

LOG_NAME = "publisher.log"
_POLL = 0.05
_LAST_WORDS = 5.0  # seconds a publisher that is told to stop gets for what it is doing


class Publisher:
    """The driver's handle of the publisher process.

    `spawn` returns at once, so that MLflow's start overlaps other work; `wait_ready` waits for it; `start` does both.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ready: dict[str, str] | None = None
        self._closed = False
        self._launch()

    @classmethod
    def spawn(
        cls,
        folder: str | os.PathLike[str],
        uri: str,
        experiment: str,
        info: StudyInfo,
        attachments: Attachments | None = None,
        secrets: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> Publisher:
        """Start the process without waiting for it.

        Args:
            folder: Run folder.
            uri: MLflow tracking URI.
            experiment: Name of the experiment, made when it does not exist.
            info: The study; ``info.tags["study_id"]`` tells it from others.
            attachments: What the study's run gets beside its numbers; its callables are picklable.
            secrets: Values that the process must show nowhere.
            timeout: Seconds to wait for an earlier publisher of the run to end.

        Raises:
            ConfigError: A callable cannot be pickled.
        """
        wanted = attachments or Attachments()
        return cls(Order(str(folder), uri, experiment, info, wanted, tuple(secrets), timeout, os.getpid()))

    @classmethod
    def start(
        cls,
        folder: str | os.PathLike[str],
        uri: str,
        experiment: str,
        info: StudyInfo,
        attachments: Attachments | None = None,
        secrets: Sequence[str] = (),
        timeout: float = 120.0,
    ) -> Publisher:
        """Start the process and wait until the study's run exists in the store; arguments as for `spawn`.

        Raises:
            ConfigError: A callable cannot be pickled.
            TrackingError: The store cannot be used.
        """
        publisher = cls.spawn(folder, uri, experiment, info, attachments, secrets, timeout)
        publisher.wait_ready(timeout)
        return publisher

    @property
    def parent_run_id(self) -> str:
        """MLflow's id of the study's run; empty before `wait_ready`."""
        return (self._ready or {}).get("parent_run_id", "")

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment; empty before `wait_ready`."""
        return (self._ready or {}).get("experiment_id", "")

    def wait_ready(self, timeout: float = 120.0) -> None:
        """Wait until the store is reached and the study's run exists.

        Raises:
            TrackingError: The store cannot be used, or not within ``timeout`` seconds. The process is gone then.
        """
        if self._ready is not None:
            return
        deadline = time.monotonic() + timeout
        answer: Any = self._broken(f"the tracking store does not answer within {timeout:g} s")
        try:
            self._pipe.send("begin")
            while self._pipe.poll(max(0.0, deadline - time.monotonic())):
                answer = self._pipe.recv()
                if answer != WAITING:
                    break
                answer = still_published(self._order.folder)
        except (EOFError, OSError):
            answer = self._broken("the publisher process ended before it was ready")
        if isinstance(answer, dict):
            self._ready = answer
            return
        self._kill()
        self._closed = True
        raise answer

    def close(self, timeout: float = 60.0) -> PublisherStatus:
        """Wait until everything that is in the journal now is published, then end the process.

        Args:
            timeout: Seconds without any progress after which to give up; what is pending stays in the journal.

        Returns:
            What is published and what is not. The same again when called twice.
        """
        if not self._closed:
            self._closed = True
            if not self._drain(timeout) and not self._process.is_alive() and timeout > 0:
                # It was killed. One more try: nothing is lost, so the next one begins where this one stood.
                self._kill()
                self._launch()
                with contextlib.suppress(OSError):
                    self._pipe.send("begin")
                self._drain(timeout)
            self._kill()
        status = self.status()
        if not status.published and not status.error:
            problem = f"nothing arrived for {timeout:g} s" if self._process.exitcode in (0, 1) else "the publisher died"
            status = replace(status, error=f"{problem}; see {Path(self._order.folder) / LOG_NAME}")
        return status

    def status(self) -> PublisherStatus:
        """Return how far the publisher is."""
        return PublisherStatus.read(self._order.folder)

    def _launch(self) -> None:
        # Spawn, never fork: a forked child inherits torch's threads and CUDA state in a broken form.
        context = multiprocessing.get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        log = str(Path(self._order.folder) / LOG_NAME)
        # A daemon: a driver that ends without `close` must not wait for a server that is away.
        self._process: BaseProcess = context.Process(
            target=publish, args=(self._order, theirs, log), name="hypertune-publisher", daemon=True
        )
        try:
            self._process.start()
        except (AttributeError, TypeError) as error:  # what pickle raises for lambdas and local functions
            raise ConfigError(
                f"a callable of the tracking does not reach another process: {error}",
                where="tracking.log_model",
                fix="define it at the top level of a module, or set tracking.log_model to false",
            ) from error
        finally:
            theirs.close()

    def _drain(self, timeout: float) -> bool:
        """Tell the process to end when it has everything; return whether it did."""
        try:
            self._pipe.send("close")
        except OSError:
            return self.status().published
        before, deadline = self._progress(), time.monotonic() + timeout
        while self._process.is_alive() and time.monotonic() < deadline:
            self._process.join(_POLL)
            now = self._progress()
            if now != before:
                before, deadline = now, time.monotonic() + timeout
        return not self._process.is_alive() and self._process.exitcode == 0

    def _progress(self) -> tuple[int, str, str]:
        status = self.status()
        return status.offset, status.parent_run_id, status.activity

    def _kill(self) -> None:
        self._pipe.close()
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(_LAST_WORDS)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _broken(self, problem: str) -> TrackingError:
        return TrackingError(problem, where="tracking.uri", fix=f"see {Path(self._order.folder) / LOG_NAME}")
