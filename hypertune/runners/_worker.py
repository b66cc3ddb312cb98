"""The process on the other end of the local runner's pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from hypertune._secrets import redact
from hypertune.errors import HypertuneError
from hypertune.records import Assignment, Report
from hypertune.runners._execute import execute
from hypertune.runners.contract import MakeObjective

__all__ = ["work"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def work(
    pipe: Connection, make_objective: MakeObjective, index: int, threads: int, prunes: bool, log: str, parent: int
) -> None:
    """Serve assignments until the driver closes the pipe.

    Sends ``("ready", None)`` or ``("broken", error)`` once, then ``("report", report)`` and ``("ended", ended)`` for
    each assignment received. When ``prunes``, every report is answered by a bool.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)  # read when torch or a BLAS is first imported
    _redirect(Path(log))
    try:
        objective = make_objective()
    except HypertuneError as error:
        pipe.send(("broken", error))
        return
    except BaseException as error:
        sys.stderr.write(redact(traceback.format_exc()))
        broken = HypertuneError(f"{type(error).__name__}: {error}", where="objective", fix=f"see {log}")
        pipe.send(("broken", broken))
        return

    def send(report: Report) -> bool:
        pipe.send(("report", report))
        return bool(pipe.recv()) if prunes else False

    with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
        pipe.send(("ready", None))
        while True:
            assignment = pipe.recv()
            if not isinstance(assignment, Assignment):
                return
            trial_log = Path(assignment.folder) / "log.txt"
            trial_log.parent.mkdir(parents=True, exist_ok=True)
            _redirect(trial_log)
            ended = execute(objective, assignment, send, worker=index)
            if ended.traceback:
                sys.stderr.write(ended.traceback)
            _redirect(Path(log))
            pipe.send(("ended", ended))


def _redirect(path: Path) -> None:
    """Send everything this process prints, C code included, to a file: the terminal belongs to the driver."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _leave_with(parent: int) -> None:
    """End this process when the driver is gone, even inside a long step: nobody would read the result."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
