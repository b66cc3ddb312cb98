"""The README's demo as a user runs it: time, and test accuracy of the trial that won on validation.

`make bench`, or `pytest -m bench tests/benchmarks/test_demo.py -s`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.yaml"
SEEDS = (0, 1, 2)


@pytest.mark.bench
@pytest.mark.timeout(1200)
def test_demo(tmp_path, capsys):
    seconds, accuracies = [], []
    for seed in SEEDS:
        begun = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "hypertune",
            "search",
            DEMO,
            "-o",
            f"study.seed={seed}",
            "-o",
            f"study.name=s{seed}",
        ]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        seconds.append(time.perf_counter() - begun)
        result = json.loads((tmp_path / "runs" / f"s{seed}" / "result.json").read_text())
        accuracies.append(result["best"]["metrics"]["test/accuracy"])
    with capsys.disabled():
        print(
            f"\ndemo, seeds {SEEDS}: {', '.join(f'{s:.0f}' for s in seconds)} s (median {statistics.median(seconds):.0f} s)"
        )
        print(f"  test accuracy of the winner: {', '.join(f'{100 * a:.1f}%' for a in accuracies)}")
    assert max(seconds) < 180
    assert min(accuracies) >= 0.95
