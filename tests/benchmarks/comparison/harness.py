"""Run the cells that are missing in the table, in parallel."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from comparison.results import Cell, Results
from comparison.trajectory import Point

__all__ = ["run_cell", "run_table"]

Work = Callable[[Cell], list[Point]]


def run_cell(cell: Cell) -> list[Point]:
    """Run one cell of the real table in this process."""
    # Each library once in each worker, and not in the process that only waits for them.
    from comparison.methods import METHODS
    from comparison.tasks import TASKS

    with tempfile.TemporaryDirectory(prefix="hypertune-bench-") as folder:
        return METHODS[cell.method](TASKS[cell.task], cell.seed, cell.budget, Path(folder))


def run_table(
    cells: Iterable[Cell],
    results: Results,
    *,
    workers: int,
    work: Work = run_cell,
    say: Callable[[str], None] = print,
) -> dict[Cell, str]:
    """Run the cells that the results lack, and add each as soon as it is done.

    Args:
        cells: The table, in the order to run it.
        results: Where the cells go.
        workers: Processes, of one thread each.
        work: Runs one cell; importable by name.
        say: Called with one line for each cell.

    Returns:
        The cells that failed, with the reason; the others are in ``results``.
    """
    missing = [cell for cell in dict.fromkeys(cells) if cell not in results.cells]
    failed: dict[Cell, str] = {}
    progress = _Progress(len(missing), say)
    alone: list[Cell] = []
    while missing or alone:
        # When a process dies, every cell that was running is lost. Which one it was shows when each runs alone.
        batch, at_once = (alone[:1], 1) if alone else (missing, workers)
        for cell, outcome in _run(batch, at_once, work):
            if isinstance(outcome, BrokenProcessPool) and cell not in alone:
                missing.remove(cell)
                alone.append(cell)
                continue
            (alone if cell in alone else missing).remove(cell)
            if isinstance(outcome, BaseException | _Failure):
                failed[cell] = outcome.traceback if isinstance(outcome, _Failure) else repr(outcome)
                progress(cell, f"failed: {failed[cell].strip().splitlines()[-1]}")
            else:
                results.add(cell, outcome)
                progress(cell, f"test {outcome[-1].test:.4g} after {outcome[-1].epochs} epochs")
    return failed


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a cell raised, as text: not every library's exceptions can be sent to another process."""

    traceback: str


def _guarded(work: Work, cell: Cell) -> list[Point] | _Failure:
    try:
        return work(cell)
    except Exception:
        return _Failure(traceback.format_exc())


def _run(
    cells: Sequence[Cell], workers: int, work: Work
) -> Iterable[tuple[Cell, list[Point] | _Failure | BaseException]]:
    """Yield outcomes until all cells have one; after a process died, only of those that had begun by then."""
    queue = list(cells)
    running: dict[Future[list[Point] | _Failure], Cell] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare)
    try:
        broken = False
        while running or (queue and not broken):
            # No more than there are workers: what waits inside the pool would count as begun when it breaks.
            while queue and not broken and len(running) < workers:
                try:
                    running[pool.submit(_guarded, work, queue[0])] = queue[0]
                except BrokenProcessPool:
                    broken = True
                    break
                queue.pop(0)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                broken = broken or isinstance(error, BrokenProcessPool)
                yield running.pop(future), error if error is not None else future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare() -> None:
    """Give the worker one thread, and end it when its parent is gone."""
    import torch

    torch.set_num_threads(1)

    def follow() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class _Progress:
    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say = total, say
        self._done, self._begun = 0, time.perf_counter()

    def __call__(self, cell: Cell, what: str) -> None:
        self._done += 1
        left = (time.perf_counter() - self._begun) / self._done * (self._total - self._done)
        self._say(
            f"[{self._done}/{self._total}] {cell.task} {cell.method} seed {cell.seed}: {what}; "
            f"about {left / 60:.0f} min left"
        )
