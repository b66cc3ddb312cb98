from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import bench_cells
import psutil
import pytest
from bench_cells import cells
from comparison.harness import run_table
from comparison.results import Results

HERE = Path(__file__).parent


def run(path, n, work, workers=2):
    lines = []
    results = Results(path)
    failed = run_table(cells(n), results, workers=workers, work=work, say=lines.append)
    return failed, lines, results


def test_fills_the_table_and_skips_what_is_there(tmp_path):
    path = tmp_path / "t.csv"
    failed, lines, _ = run(path, 2, bench_cells.quick)
    assert not failed
    assert len(lines) == 2
    failed, lines, results = run(path, 4, bench_cells.quick)
    assert not failed
    assert sorted(re.findall(r"seed (\d)", " ".join(lines))) == ["2", "3"]
    assert lines[-1].startswith("[2/2] t m seed ")
    assert {cell.seed: points[-1].test for cell, points in results.cells.items()} == {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}
    assert Results(path).cells == results.cells
    assert run(path, 4, bench_cells.quick)[1] == []


@pytest.mark.parametrize(
    ("work", "reason"),
    [(bench_cells.fails_on_seed_1, "Local: no such luck"), (bench_cells.dies_on_seed_1, "BrokenProcessPool")],
)
def test_a_cell_that_fails_takes_no_other_with_it(tmp_path, work, reason):
    failed, lines, results = run(tmp_path / "t.csv", 4, work)
    assert [cell.seed for cell in failed] == [1]
    assert reason in failed[cells(2)[1]]
    assert {cell.seed for cell in results.cells} == {0, 2, 3}
    assert len(lines) == 4
    # It is tried again by the next run.
    failed, lines, results = run(tmp_path / "t.csv", 4, bench_cells.quick)
    assert not failed
    assert len(lines) == 1


def test_a_killed_run_loses_the_running_cells_only(tmp_path):
    path = tmp_path / "t.csv"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent / "benchmarks")))}
    command = [sys.executable, str(HERE / "bench_cells.py"), str(path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        workers = []
        while len(workers) < 2:  # the two that are left hang in cells of their own
            line = process.stdout.readline()
            assert line, "the run ended early"
            workers += [psutil.Process(int(pid)) for pid in re.findall(r"worker (\d+) hangs", line)]
        end = time.monotonic() + 60
        while len(Results(path).cells) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert {cell.seed for cell in Results(path).cells} == {0, 1}
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    failed, lines, results = run(path, 5, bench_cells.quick)
    assert not failed
    assert len(lines) == 3
    assert len(results.cells) == 5
