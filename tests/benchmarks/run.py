"""Compare methods at equal budgets: fill the table, then print and draw it.

    python tests/benchmarks/run.py [--quick] [--methods tpe,gp] [--tasks diabetes-mlp] [--seeds 0-4]

A run that was stopped goes on where it was: finished cells are read from the CSV. Tables, figure and raw results are
in ``tests/benchmarks/results``.
"""

from __future__ import annotations

import os

# Read when torch and BLAS are first imported, so before anything else.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse  # noqa: E402
import platform  # noqa: E402
import shlex  # noqa: E402
import sys  # noqa: E402
from collections.abc import Collection, Sequence  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from importlib.metadata import version  # noqa: E402
from pathlib import Path  # noqa: E402

from comparison.figures import draw  # noqa: E402
from comparison.harness import run_table  # noqa: E402
from comparison.methods import METHODS, OURS, TABLE  # noqa: E402
from comparison.report import markdown  # noqa: E402
from comparison.results import Cell, Results  # noqa: E402
from comparison.tasks import TASKS  # noqa: E402
from filelock import FileLock, Timeout  # noqa: E402

from hypertune.errors import did_you_mean  # noqa: E402

__all__ = ["main"]

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is run: file name of the results, full trials in a peer's budget, default tasks and seeds."""

    name: str
    full_trials: int
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]


FULL = Profile("methods", 20, tuple(TASKS), (0, 1, 2, 3, 4))
QUICK = Profile("methods_quick", 20, ("digits-phnn", "diabetes-mlp"), (0, 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table; the exit code is 1 when a cell failed."""
    options = _parse(arguments)
    profile = QUICK if options.quick else FULL
    tasks = _chosen("tasks", options.tasks, TASKS, profile.tasks)
    methods = _chosen("methods", options.methods, METHODS, TABLE)
    seeds = _seeds(options.seeds) if options.seeds else profile.seeds
    budgets = {task: profile.full_trials * TASKS[task].epochs for task in TASKS}
    cells = [Cell(seed, task, method, budgets[task]) for seed in seeds for task in tasks for method in methods]

    path: Path = options.out / f"{profile.name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        print(f"{path} is being filled by another run", file=sys.stderr)
        return 2
    with lock:
        results = Results(path)
        for cell in results.drop_other_budgets(budgets):
            print(f"dropped, the task's budget has changed: {cell}")
        failed = {} if options.report else run_table(cells, results, workers=options.workers, say=_say)
        # In the order of the tables, whatever the order in which cells ended.
        order = [Cell(seed, task, method, budgets[task]) for task in tasks for method in methods for seed in seeds]
        table = {cell: results.cells[cell] for cell in order if cell in results.cells}
        if table:
            heading = _heading(options, profile, tasks)
            report = markdown(table, ours=tuple(OURS), heading=heading)
            path.with_suffix(".md").write_text(report, encoding="utf-8")
            draw(table, path.with_suffix(".png"))
            print(report)
    for cell, reason in failed.items():
        print(f"{cell} failed:\n{reason}", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="two small tasks, two seeds: ten minutes")
    parser.add_argument(
        "--methods",
        help=f"comma-separated; by default {', '.join(TABLE)}; also {', '.join(sorted(set(METHODS) - set(TABLE)))}",
    )
    parser.add_argument("--tasks", help=f"comma-separated: {', '.join(TASKS)}")
    parser.add_argument("--seeds", help="such as 0-4 or 0,2")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; one for each core")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--report", action="store_true", help="run nothing; tables and figure of what is there")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    return options


def _chosen(what: str, given: str | None, known: Collection[str], default: Collection[str]) -> list[str]:
    names = [name.strip() for name in given.split(",")] if given else list(default)
    for name in names:
        if name not in known:
            raise SystemExit(f"--{what}: unknown {name!r}; {did_you_mean(name, known)}")
    return names


def _seeds(text: str) -> list[int]:
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise SystemExit(f"--seeds: {part!r} is neither a number nor a range such as 0-4")
        seeds += range(int(first), int(last if dash else first) + 1)
    return list(dict.fromkeys(seeds))


def _say(line: str) -> None:
    print(line, flush=True)


def _heading(options: argparse.Namespace, profile: Profile, tasks: Sequence[str]) -> str:
    command = ["python tests/benchmarks/run.py", *(["--quick"] if options.quick else [])]
    command += [
        f"--{name} {shlex.quote(value)}" for name in ("methods", "tasks", "seeds") if (value := getattr(options, name))
    ]
    trials = "; ".join(f"{task} {TASKS[task].epochs}" for task in tasks)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "ray"))
    return (
        f"`{' '.join(command)}`: a peer's budget is {profile.full_trials} full trials, whose epochs are: {trials}. "
        f"{packages}; {platform.machine()}, {options.workers} searches at a time, one thread each."
    )


if __name__ == "__main__":
    sys.exit(main())
