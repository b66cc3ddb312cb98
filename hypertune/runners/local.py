"""``local``: trials run in worker processes on this machine, isolated from the driver and from each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from hypertune.errors import ConfigError, HypertuneError, TrialError, did_you_mean
from hypertune.records import Assignment
from hypertune.runners._worker import work
from hypertune.runners.contract import Ended, MakeObjective, OnReport

__all__ = ["RUNNER", "LocalRunner"]


@dataclass(slots=True)
class _Worker:
    index: int
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    assignment: Assignment | None = None
    deadline: float = float("inf")


class LocalRunner:
    """Runs trials in spawned processes that are reused from trial to trial.

    Args:
        workers: Number of processes. With several GPUs the training room gives worker i the device i modulo their
            number.
        threads: Threads of torch and of BLAS in each worker.
        timeout: Seconds after which a trial is killed and fails; None for no limit.
    """

    def __init__(self, *, workers: int = 1, threads: int = 1, timeout: float | None = None) -> None:
        self.workers = workers
        self._threads = threads
        self._timeout = timeout
        # Spawn, never fork: a forked child inherits torch's threads and CUDA state in a broken form.
        self._context = multiprocessing.get_context("spawn")
        self._pool: list[_Worker] = []

    @property
    def executing(self) -> bool:
        """Never: trials run in other processes."""
        return False

    def start(self, make_objective: MakeObjective, on_report: OnReport, *, folder: str, prunes: bool) -> None:
        """Spawn the workers without waiting for them."""
        self._make_objective, self._on_report, self._prunes = make_objective, on_report, prunes
        self._folder = Path(folder)
        try:
            self._pool = [self._spawn(index) for index in range(self.workers)]
        except (AttributeError, TypeError) as error:  # what pickle raises for lambdas and local functions
            raise ConfigError(
                f"the objective does not reach a worker process: {error}",
                where="objective",
                fix="name it by its dotted path, my_module:train, or use `runner: inline`",
            ) from error

    def check(self) -> None:
        """Wait for the first worker that is ready; raise what keeps one from starting."""
        while not any(worker.ready for worker in self._pool):
            self._serve(None)

    def free(self) -> int:
        """Return the number of idle workers."""
        return sum(worker.ready and worker.assignment is None for worker in self._pool)

    def submit(self, assignment: Assignment) -> str:
        """Send the assignment to an idle worker."""
        worker = next(w for w in self._pool if w.ready and w.assignment is None)
        worker.assignment = assignment
        worker.deadline = time.monotonic() + (self._timeout or float("inf"))
        with contextlib.suppress(OSError):  # a worker that just died is noticed by `wait`, with its reason
            worker.pipe.send(assignment)
        return f"local-{worker.index}"

    def wait(self, timeout: float) -> Sequence[Ended]:
        """Serve reports until a trial ended or the time is over."""
        end = time.monotonic() + timeout
        while True:
            nearest = min((worker.deadline for worker in self._pool), default=float("inf"))
            ended = self._serve(max(0.0, min(end, nearest) - time.monotonic()))
            if ended or time.monotonic() >= end:
                return ended

    def stop_all(self) -> Sequence[Ended]:
        """Kill the workers that run a trial."""
        ended = []
        for worker in self._pool:
            if worker.assignment is not None:
                ended.append(Ended(worker.assignment.number, "interrupted", reason="interrupted by the user"))
                worker.assignment = None
                _kill(worker)
        return ended

    def close(self) -> None:
        """Ask idle workers to leave, kill the others."""
        pool, self._pool = self._pool, []
        for worker in pool:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
            worker.pipe.close()
        for worker in pool:
            worker.process.join(timeout=1.0 if worker.ready and worker.assignment is None else 0.0)
            _kill(worker)

    def _spawn(self, index: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        log = str(self._folder / f"worker-{index}.log")
        process = self._context.Process(
            target=work,
            args=(theirs, self._make_objective, index, self._threads, self._prunes, log, os.getpid()),
            name=f"hypertune-worker-{index}",
            daemon=False,  # trials may start their own processes, data loaders for one
        )
        process.start()
        theirs.close()
        return _Worker(index, process, ours)

    def _serve(self, timeout: float | None) -> list[Ended]:
        """Handle everything that arrives within the timeout; one round."""
        ended: list[Ended] = []
        by_pipe = {worker.pipe: worker for worker in self._pool}
        for pipe in wait(list(by_pipe), timeout):
            assert isinstance(pipe, Connection)
            worker = by_pipe[pipe]
            try:
                kind, content = pipe.recv()
            except (EOFError, OSError):
                ended += self._bury(worker, None)
                continue
            if kind == "ready":
                worker.ready = True
            elif kind == "broken":
                raise content
            elif kind == "report" and worker.assignment is not None:
                prune = self._on_report(worker.assignment.number, content)
                if self._prunes:
                    with contextlib.suppress(OSError):
                        pipe.send(prune)
            elif kind == "ended":
                worker.assignment, worker.deadline = None, float("inf")
                ended.append(content)
        now = time.monotonic()
        for worker in [w for w in self._pool if w.deadline <= now]:
            ended += self._bury(worker, f"timed out after {self._timeout:g} s (trial.timeout)")
        return ended

    def _bury(self, worker: _Worker, reason: str | None) -> list[Ended]:
        """Replace a worker that died, or that has to: its trial fails, the search goes on."""
        if reason is None:
            worker.process.join(timeout=5.0)
            reason = _cause_of_death(worker.process.exitcode)
        _kill(worker)
        worker.pipe.close()
        if not worker.ready:
            raise HypertuneError(
                f"a worker process does not start: {reason}",
                where="runner",
                fix=f"see {self._folder / f'worker-{worker.index}.log'}",
            )
        self._pool[self._pool.index(worker)] = self._spawn(worker.index)
        if worker.assignment is None:
            return []
        error = TrialError(reason, where=f"trial {worker.assignment.number}")
        return [Ended(worker.assignment.number, "failed", reason=str(error))]


def _kill(worker: _Worker) -> None:
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join(timeout=5.0)


def _cause_of_death(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"the worker process ended by itself with exit code {exitcode}"
    name = signal.Signals(-exitcode).name if -exitcode in set(signal.Signals) else f"signal {-exitcode}"
    hint = ", perhaps by the kernel for lack of memory" if name == "SIGKILL" else ""
    return f"the worker process was killed by {name}{hint}"


def local(*, timeout: float | None = None, **options: Any) -> LocalRunner:
    """Build the runner.

    Args:
        timeout: ``trial.timeout`` in seconds.
        options: ``workers`` and ``threads``, whole numbers from 1.

    Raises:
        ConfigError: An option is unknown or no whole number from 1.
    """
    for name, value in options.items():
        if name not in {"workers", "threads"}:
            known = ["workers", "threads"]
            raise ConfigError("local has no such option", where=f"runner.{name}", fix=did_you_mean(name, known))
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(
                "not a number of processes or threads", where=f"runner.{name}", given=value, expected="1 or more"
            )
    return LocalRunner(timeout=timeout, **options)


RUNNER = local
