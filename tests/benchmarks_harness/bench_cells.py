"""Work for the harness under test, importable by its workers."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from comparison.harness import run_table
from comparison.results import Cell, Results
from comparison.trajectory import Point


def quick(cell: Cell) -> list[Point]:
    return [Point(1, 0.5, 1.0, 1.5 + cell.seed), Point(cell.budget, 2.0, 0.5, float(cell.seed))]


def fails_on_seed_1(cell: Cell) -> list[Point]:
    if cell.seed == 1:

        class Local(ArithmeticError):  # cannot be pickled, as some of Ray's cannot
            pass

        raise Local("no such luck")
    return quick(cell)


def dies_on_seed_1(cell: Cell) -> list[Point]:
    if cell.seed == 1:
        os._exit(9)
    return quick(cell)


def hangs_from_seed_2(cell: Cell) -> list[Point]:
    if cell.seed >= 2:
        print(f"worker {os.getpid()} hangs", flush=True)
        time.sleep(300)
    return quick(cell)


def cells(n: int) -> list[Cell]:
    return [Cell(seed, "t", "m", 10) for seed in range(n)]


if __name__ == "__main__":
    run_table(cells(5), Results(Path(sys.argv[1])), workers=2, work=hangs_from_seed_2)
