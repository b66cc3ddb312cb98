"""The actor that runs trials on a node: a local runner of one worker process, at a distance.

The trial runs in a process of its own below the actor, as it does with the local runner. So a trial that crashes takes
neither the actor nor its place in the cluster with it and fails as it does there, its main thread belongs to it, and
what it prints goes to its own log. When the actor is lost instead, it is the machine's fault.
"""

from __future__ import annotations

import pickle
import queue
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

from hypertune import __version__
from hypertune.errors import HypertuneError, StorageError
from hypertune.records import Assignment, Report
from hypertune.runners._ray_files import HostFolder, TrialFolder
from hypertune.runners._ray_reset import Resetting
from hypertune.runners._ray_storage import RayStorage
from hypertune.runners.contract import Ended, MakeObjective
from hypertune.runners.local import LocalRunner

__all__ = ["Batch", "HostSettings", "Opened", "TrialHost", "versions"]

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What every host of a run has in common.

    Attributes:
        make_objective: The recipe, pickled.
        prunes: Whether a report waits for an answer.
        threads: Threads of torch and of BLAS.
        timeout: Seconds after which a trial is killed; None for no limit.
        shipped: Whether the folder of the user's modules is the working folder here.
        storage_probe: URL of a file that must be readable here; empty without a storage.
    """

    make_objective: bytes
    prunes: bool
    threads: int
    timeout: float | None
    shipped: bool
    storage_probe: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What a host says once it is ready, or why it is not."""

    node: str
    version: str
    log: bytes = b""
    error: HypertuneError | None = None


@dataclass(slots=True)
class Batch:
    """What happened in a trial since the last batch; ``state`` and files are contents, None in ``files`` is a URL."""

    reports: list[Report] = field(default_factory=list)
    log: bytes = b""
    state: bytes | None = None
    ended: Ended | None = None
    files: dict[str, bytes | None] = field(default_factory=dict)
    error: HypertuneError | None = None


class TrialHost:
    """Runs one trial after another; its methods are called from the driver.

    Two threads serve it, so that `close` comes through while `poll` waits.
    """

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._folder = HostFolder()
        self._root = self._folder.path
        self._outbox: queue.SimpleQueue[Report | Batch] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._runner = LocalRunner(threads=settings.threads, timeout=settings.timeout)

    def open(self, folder: str) -> Opened:
        """Start the worker process and wait until it is ready.

        Args:
            folder: Folder of the driver that logs are to be found in, for messages.
        """
        here, settings = _node(), self._settings
        try:
            if settings.storage_probe and (why := RayStorage.seen(settings.storage_probe)):
                raise StorageError(
                    f"the storage cannot be read on node {here}: {why}",
                    where="runner.storage",
                    given=settings.storage_probe.rpartition("/")[0],
                    fix="name a folder that all nodes mount, or an fsspec URL such as s3://bucket/folder",
                )
            make_objective: MakeObjective = pickle.loads(settings.make_objective)
            moved = getattr(make_objective, "moved", None)
            if settings.shipped and moved is not None:
                # Ray has given this process the driver's import path too.
                there = str(getattr(make_objective, "folder", ""))
                sys.path[:] = [each for each in sys.path if each != there]
                make_objective = moved(Path.cwd())
            # A spawned process first runs its parent's main module, which here is Ray's own and would load Ray again.
            vars(sys.modules["__main__"]).pop("__file__", None)
            self._runner.start(
                Resetting(make_objective), self._on_report, folder=str(self._root), prunes=settings.prunes
            )
            self._runner.check()
            return Opened(here, versions(), self._worker_log())
        except HypertuneError as error:
            return Opened(here, versions(), self._worker_log(), self._moved(error, folder))
        except Exception as error:
            broken = HypertuneError(f"{type(error).__name__}: {error}", where=f"runner, on node {here}")
            return Opened(here, versions(), self._worker_log(), broken)

    def begin(self, assignment: Assignment, state: bytes | None, url: str, state_url: str) -> Batch:
        """Begin a trial and do what `poll` does.

        Args:
            assignment: The trial, with its folder on the driver's machine.
            state: State to continue from.
            url: Where in the storage the trial's files go; empty for none.
            state_url: Where in the storage its state is and goes; empty for none.
        """
        files = TrialFolder(self._root / Path(assignment.folder).name, url, state_url)
        threading.Thread(target=self._run, args=(assignment, files, state), daemon=True).start()
        return self.poll([])

    def poll(self, answers: Sequence[bool]) -> Batch:
        """Wait for news.

        Args:
            answers: For each report of the last batch, whether to prune.
        """
        if self._settings.prunes:
            for answer in answers:
                self._answers.put(answer)
        batch, waiting = Batch(), True
        while waiting or not self._outbox.empty():
            waiting, news = False, self._outbox.get()
            if isinstance(news, Report):
                batch.reports.append(news)
                continue
            batch.log += news.log
            batch.state = news.state if news.state is not None else batch.state
            batch.ended, batch.files, batch.error = news.ended, news.files, news.error
        return batch

    def close(self) -> None:
        """End the worker process, whatever it does, and remove everything from this node."""
        self._runner.stop_all()
        self._runner.close()
        self._folder.remove()

    def _run(self, assignment: Assignment, files: TrialFolder, state: bytes | None) -> None:
        """Run one trial, in a thread, since a report's answer comes with a later call."""
        try:
            self._runner.check()  # the worker process is a new one after a crash
            files.begin(state)
            self._runner.submit(replace(assignment, folder=str(files.path)))
            ended: Sequence[Ended] = ()
            while not ended:
                ended = self._runner.wait(_LOOK_SECONDS)
                batch = Batch(log=files.new_log(), state=None if ended else files.new_state())
                if not ended and (batch.log or batch.state is not None):
                    self._outbox.put(batch)
            while more := files.new_log():
                batch.log += more
            batch.ended, batch.files = self._returned(ended[0], assignment, files), files.end()
        except Exception as error:
            broken = error if isinstance(error, HypertuneError) else HypertuneError(f"{type(error).__name__}: {error}")
            batch = Batch(log=files.new_log(), error=broken.at(f"runner, on node {_node()}"))
        shutil.rmtree(files.path, ignore_errors=True)
        self._outbox.put(batch)

    def _on_report(self, number: int, report: Report) -> bool:
        self._outbox.put(report)
        return self._answers.get() if self._settings.prunes else False

    def _returned(self, ended: Ended, assignment: Assignment, files: TrialFolder) -> Ended:
        """Name the checkpoint as it will be found on the driver's machine."""
        result = ended.result
        if result is None or result.checkpoint is None or not Path(result.checkpoint).is_relative_to(files.path):
            return ended
        there = Path(assignment.folder) / Path(result.checkpoint).relative_to(files.path)
        return replace(ended, result=replace(result, checkpoint=str(there)))

    def _worker_log(self) -> bytes:
        try:
            return (self._root / "worker-0.log").read_bytes()
        except OSError:
            return b""

    def _moved(self, error: HypertuneError, folder: str) -> HypertuneError:
        """Return the error with the log named where the driver will put it."""
        here = str(self._root / "worker-0.log")
        given = {} if error.given is None else {"given": error.given}
        return type(error)(
            error.problem.replace(here, folder),
            where=error.where,
            expected=error.expected,
            fix=error.fix and error.fix.replace(here, folder),
            **given,
        )


def _node() -> str:
    context: Any = ray.get_runtime_context()
    return f"{ray.util.get_node_ip_address()}/{context.get_node_id()[:6]}"


def versions() -> str:
    """Return what has to be the same in the driver and on all nodes."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"hypertune {__version__}, Python {python}"
