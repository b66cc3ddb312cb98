"""The quick table of methods, run to its end: every method spends what it may, and no peer is crippled.

`make bench`, or `pytest -m bench tests/benchmarks/test_methods.py -s`; the full table is `make bench-methods`.
"""

from __future__ import annotations

import csv
import math
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "run.py"


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_methods(tmp_path, capsys):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with capsys.disabled():
        print(f"\n{(tmp_path / 'methods_quick.md').read_text()}")
    with (tmp_path / "methods_quick.csv").open(encoding="utf-8") as file:
        ends = [row for row in csv.DictReader(file) if row["last"] == "1"]
    validation: dict[tuple[str, str], list[float]] = {}
    for row in ends:
        assert int(row["epochs"]) <= int(row["budget"]), row
        assert math.isfinite(float(row["test"])), row
        validation.setdefault((row["task"], row["method"]), []).append(float(row["value"]))
    # What a search minimizes is the validation loss. Two seeds are few: far behind random search is what is looked for.
    for (task, method), values in validation.items():
        assert statistics.mean(values) <= 1.15 * statistics.mean(validation[task, "random"]), (task, method)
