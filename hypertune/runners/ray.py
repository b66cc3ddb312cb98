"""``ray``: trials run on a Ray cluster, or on a Ray that is started on this machine.

One actor for each trial that runs at a time, used again from trial to trial. The driver alone writes the study and
MLflow; actors send reports and files back, through Ray or through a storage that all nodes share. A trial whose node
or actor is lost ends as interrupted, and the driver repeats it from its last saved state.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RaySystemError, RayTaskError, RuntimeEnvSetupError

from hypertune.errors import ConfigError, HypertuneError, StorageError, TrialError
from hypertune.records import TRIAL_STATE, Assignment
from hypertune.runners._ray_cluster import RayCluster
from hypertune.runners._ray_files import LOG, append, write
from hypertune.runners._ray_host import Batch, HostSettings, Opened, TrialHost, versions
from hypertune.runners._ray_settings import RaySettings
from hypertune.runners._ray_storage import RayStorage, pointer, read_pointer
from hypertune.runners.contract import Ended, MakeObjective, OnReport

__all__ = ["RUNNER", "RayRunner"]

_CLUSTER_WORKERS = 8
_LEAVE_SECONDS = 3.0


@dataclass(slots=True)
class _Worker:
    index: int
    actor: Any
    call: Any
    node: str = ""
    ready: bool = False
    assignment: Assignment | None = None
    url: str = ""


class RayRunner:
    """Runs trials in actors.

    Args:
        settings: The runner's options.
        timeout: Seconds after which a trial is killed and fails; None for no limit.
    """

    def __init__(self, settings: RaySettings, *, timeout: float | None = None) -> None:
        here = max(1, int((os.cpu_count() or 1) / settings.request.get("CPU", 1.0)))
        self.workers = settings.max_concurrent or (here if settings.address == "local" else _CLUSTER_WORKERS)
        self._settings = settings
        self._timeout = timeout
        self._storage = None if settings.storage is None else RayStorage(_absolute(settings.storage))
        self._cluster: RayCluster | None = None
        self._pool: list[_Worker] = []
        self._probe = ""
        self._losses: dict[int, int] = {}
        self._failures: dict[int, int] = {}
        self._stored: dict[Path, str] = {}

    @property
    def executing(self) -> bool:
        """Never: trials run in other processes."""
        return False

    def start(self, make_objective: MakeObjective, on_report: OnReport, *, folder: str, prunes: bool) -> None:
        """Connect, and ask for the actors without waiting for them.

        Raises:
            HypertuneError: There is no such cluster, no node can hold a trial, the storage cannot be written, or the
                objective cannot be sent.
        """
        self._on_report, self._prunes, self._folder = on_report, prunes, Path(folder)
        pack = getattr(make_objective, "packed", None)
        recipe = _pickled(make_objective if pack is None else pack())
        if self._storage is not None:
            self._probe = self._storage.probe()
        source = getattr(make_objective, "folder", None)
        self._cluster = RayCluster(self._settings, source=source, run=self._folder)
        self._cluster.check_resources()
        self._host = HostSettings(
            recipe, prunes, self._settings.threads, self._timeout, self._cluster.shipped, self._probe
        )
        self._alone_since = time.monotonic()
        self._pool = [self._spawn(index) for index in range(self.workers)]

    def check(self) -> None:
        """Wait for the first actor that is ready; raise what keeps one from starting."""
        while not any(worker.ready for worker in self._pool):
            self._check_patience()
            self._serve(1.0)

    def free(self) -> int:
        """Return the number of idle actors."""
        return sum(worker.ready and worker.assignment is None for worker in self._pool)

    def submit(self, assignment: Assignment) -> str:
        """Send the assignment, with the state it continues from when there is one, to an idle actor."""
        worker = next(w for w in self._pool if w.ready and w.assignment is None)
        self._forget_deleted()
        with _disk():
            state, state_url = self._state_of(assignment)
        worker.assignment = assignment
        worker.url = "" if self._storage is None else self._url(assignment)
        worker.call = worker.actor.begin.remote(assignment, state, worker.url, state_url)
        self._losses[assignment.number] = 0
        if assignment.retry_of is not None:
            self._losses[assignment.number] = self._losses.get(assignment.retry_of, 0)
        return f"ray-{worker.index}@{worker.node}"

    def wait(self, timeout: float) -> Sequence[Ended]:
        """Serve reports until a trial ended or the time is over."""
        end = time.monotonic() + timeout
        if self._pool and not any(worker.ready for worker in self._pool):  # the last one was lost
            self._check_patience()
        while True:
            ended = self._serve(max(0.0, end - time.monotonic()))
            if ended or time.monotonic() >= end:
                return ended

    def stop_all(self) -> Sequence[Ended]:
        """Stop the actors that run a trial."""
        running = [worker for worker in self._pool if worker.assignment is not None]
        self._pool = [worker for worker in self._pool if worker.assignment is None]
        self._dismiss(running)
        return [
            Ended(worker.assignment.number, "interrupted", reason="interrupted by the user")
            for worker in running
            if worker.assignment is not None
        ]

    def close(self) -> None:
        """Stop all actors, and the Ray that was started for them."""
        pool, self._pool = self._pool, []
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            self._dismiss(pool)
            cluster.close()
        if self._probe:
            self._forget_deleted()
            RayStorage.delete(self._probe)
            self._probe = ""

    def _check_patience(self) -> None:
        limit = self._settings.start_timeout
        if time.monotonic() >= self._alone_since + limit:
            assert self._cluster is not None
            raise HypertuneError(
                f"no worker has started in {limit:g} s; the cluster has {self._cluster.load()}",
                where="runner.start_timeout",
                given=limit,
                fix="wait until the cluster has room, ask for less in runner.resources_per_trial, or wait longer",
            )

    def _spawn(self, index: int) -> _Worker:
        request = self._settings.request
        options = {
            "num_cpus": request.pop("CPU", 0),
            "num_gpus": request.pop("GPU", 0),
            "memory": request.pop("memory", None),
            "resources": request,
            "scheduling_strategy": "SPREAD" if self._settings.placement == "spread" else "DEFAULT",
            "max_concurrency": 2,
            "max_restarts": 0,
        }
        actor = ray.remote(TrialHost).options(**options).remote(self._host)
        return _Worker(index, actor, actor.open.remote(str(self._worker_log(index))))

    def _serve(self, timeout: float) -> list[Ended]:
        """Handle everything that arrives within the timeout; one round."""
        by_call = {worker.call: worker for worker in self._pool if worker.call is not None}
        if not by_call:
            time.sleep(timeout)
            return []
        try:
            arrived, _ = ray.wait(list(by_call), num_returns=1, timeout=timeout)
            if arrived:
                arrived, _ = ray.wait(list(by_call), num_returns=len(by_call), timeout=0)
        except (ConnectionError, RaySystemError) as error:
            raise HypertuneError(
                f"the connection to Ray is lost: {_first_line(error)}",
                where="runner.address",
                given=self._settings.address,
                fix="`hypertune resume` continues once Ray is there again",
            ) from error
        return [ended for call in arrived for ended in self._handle(by_call[call])]

    def _handle(self, worker: _Worker) -> list[Ended]:
        try:
            news = ray.get(worker.call)
        except (RayTaskError, RuntimeEnvSetupError) as error:
            if worker.ready:
                return self._bury(worker, _last_line(error))
            raise HypertuneError(
                f"a worker does not work: {_last_line(error)}",
                where="runner",
                fix="install hypertune, and what your modules import, on all nodes; see runner.runtime_env",
            ) from error
        except RayError as error:
            return self._bury(worker, f"{type(error).__name__}: {_first_line(error)}")
        worker.call = None
        if isinstance(news, Opened):
            self._opened(worker, news)
            return []
        return self._received(worker, news)

    def _opened(self, worker: _Worker, news: Opened) -> None:
        worker.node = news.node
        with _disk():
            append(self._worker_log(worker.index), news.log)
        error = news.error
        if error is None and news.version != versions():
            error = ConfigError(
                f"node {news.node} has {news.version}, the driver {versions()}",
                where="runner",
                fix="install the same versions here and on all nodes",
            )
        if error is None:
            worker.ready, self._failures[worker.index] = True, 0
        elif not any(other.ready for other in self._pool):
            raise error
        else:  # one bad node does not end a search that others work for
            self._replace(worker, error)

    def _received(self, worker: _Worker, batch: Batch) -> list[Ended]:
        assignment = worker.assignment
        assert assignment is not None
        answers = [self._on_report(assignment.number, report) for report in batch.reports]
        folder = Path(assignment.folder)
        with _disk():
            if batch.log:
                append(folder / LOG, batch.log)
            if batch.state is not None:
                write(folder / TRIAL_STATE, batch.state)
        if batch.error is not None:
            return self._bury(worker, str(batch.error))
        if batch.ended is None:
            worker.call = worker.actor.poll.remote(answers)
            return []
        with _disk():
            for name, sent in batch.files.items():
                content = RayStorage.read(f"{worker.url}/{name}") if sent is None else sent
                if content is not None:
                    write(folder / name, content)
                if sent is None:
                    self._stored[folder / name] = f"{worker.url}/{name}"
            append(folder / LOG, b"")  # a trial that printed nothing has an empty log
            (folder / TRIAL_STATE).unlink(missing_ok=True)
        worker.assignment = None
        return [batch.ended]

    def _bury(self, worker: _Worker, reason: str) -> list[Ended]:
        """Replace an actor that was lost; its trial is repeated as often as the options allow."""
        if not worker.ready:
            fix = "see Ray's logs of the node"
            self._replace(worker, HypertuneError(f"a worker does not start: {reason}", where="runner", fix=fix))
            return []
        self._replace(worker, HypertuneError(reason))
        if worker.assignment is None:
            return []
        number = worker.assignment.number
        self._losses[number] += 1
        repeats = self._losses[number] <= self._settings.retries
        end = "" if repeats else f"; given up after {self._settings.retries} retries (runner.retries)"
        error = TrialError(f"its worker on node {worker.node} was lost: {reason}{end}", where=f"trial {number}")
        return [Ended(number, "interrupted" if repeats else "failed", reason=str(error))]

    def _replace(self, worker: _Worker, error: HypertuneError) -> None:
        """Ask for another actor, unless too many in a row did not even start."""
        self._dismiss([worker])
        failures = self._failures[worker.index] = self._failures.get(worker.index, 0) + (not worker.ready)
        place = self._pool.index(worker)
        if worker.ready:
            self._alone_since = time.monotonic()
        if failures <= self._settings.retries:
            self._pool[place] = self._spawn(worker.index)
            return
        del self._pool[place]
        if not any(other.ready for other in self._pool):
            raise error

    def _dismiss(self, workers: Sequence[_Worker]) -> None:
        """Ask actors to clean up and leave, and end them after a moment whether they did or not."""
        with contextlib.suppress(RayError, ConnectionError, RuntimeError):
            leaving = [worker.actor.close.remote() for worker in workers if worker.node]
            if leaving:
                ray.wait(leaving, num_returns=len(leaving), timeout=_LEAVE_SECONDS)
            for worker in workers:
                ray.kill(worker.actor)

    def _state_of(self, assignment: Assignment) -> tuple[bytes | None, str]:
        """Return the state that a trial continues from and where in the storage its states go."""
        file = Path(assignment.folder) / TRIAL_STATE
        content = file.read_bytes() if file.exists() else None
        url = None if content is None else read_pointer(content)
        if url is not None:
            return None, url
        if self._storage is None:
            return content, ""
        url = f"{self._url(assignment)}/{TRIAL_STATE}"
        if content is not None:
            RayStorage.write(url, content)
        # What stands for the state here is handed over and resumed from as the state itself would be.
        write(file, pointer(url))
        return None, url

    def _url(self, assignment: Assignment) -> str:
        assert self._storage is not None
        unique = hashlib.sha256(str(self._folder.resolve()).encode()).hexdigest()[:8]
        return self._storage.within(f"{self._folder.name}-{unique}", "trials", Path(assignment.folder).name)

    def _forget_deleted(self) -> None:
        """Delete from the storage what the driver has deleted from the run folder: checkpoints that cannot win."""
        for file in [file for file in self._stored if not file.exists()]:
            RayStorage.delete(self._stored.pop(file))

    def _worker_log(self, index: int) -> Path:
        return self._folder / f"worker-{index}.log"


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"a trial's files cannot be written: {error.strerror or error}",
            where="study.folder",
            fix="free disk space or make the folder writable; `hypertune resume` then continues",
        ) from error


def _pickled(make_objective: MakeObjective) -> bytes:
    try:
        return pickle.dumps(make_objective)
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise ConfigError(
            f"the objective does not reach a worker: {error}",
            where="objective",
            fix="name it by its dotted path, my_module:train, or use `runner: inline`",
        ) from error


def _absolute(storage: str) -> str:
    return storage if "://" in storage else str(Path(storage).expanduser().resolve())


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


def _last_line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "")


def ray_runner(*, timeout: float | None = None, **options: Any) -> RayRunner:
    """Build the runner.

    Args:
        timeout: ``trial.timeout`` in seconds.
        options: ``address``, ``resources_per_trial``, ``max_concurrent``, ``placement``, ``storage``, ``runtime_env``,
            ``py_modules``, ``retries``, ``start_timeout``, ``autoscaling``.

    Raises:
        ConfigError: An option is unknown or wrong.
    """
    return RayRunner(RaySettings.read(options), timeout=timeout)


RUNNER = ray_runner
