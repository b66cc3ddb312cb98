"""What a trial costs on Ray beyond its training, where one driver's ceiling is, and what files cost on their way.

`make bench`, or `pytest -m bench tests/benchmarks/test_ray_runner.py -s`. Wall-clock figures are taken in turns with
the local runner, whose trials are the same; the driver's own share is process CPU time, which a busy machine does not
change.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROUNDS = 3

STUDY = f"""
import json, sys, time
from hypertune import run_search
from hypertune.records import Finished, Started
if __name__ == "__main__":
    n, runner = int(sys.argv[1]), json.loads(sys.argv[2])
    marks = []
    def watch(event):
        if isinstance(event, (Started, Finished)):
            marks.append((time.perf_counter(), time.process_time()))
    content = {{
        "study": {{"name": "s", "n_trials": n, "metric": "value"}},
        "objective": "trivial:train",
        "space": {{f"x{{i}}": {{"type": "float", "low": 0, "high": 1}} for i in range(10)}},
        "sampler": "random",
        "tracking": "none",
        "runner": runner,
        "source": {str(HERE)!r},
    }}
    result = run_search(content, quiet=True, listeners=[watch])
    assert result.counts["complete"] == n
    (wall, cpu), (wall_end, cpu_end) = marks[0], marks[-1]
    print(json.dumps({{"wall_ms": 1000 * (wall_end - wall) / n, "driver_cpu_ms": 1000 * (cpu_end - cpu) / n}}))
"""

FILES = f"""
import json, os, sys, time
from pathlib import Path
import ray
from hypertune import registry
from hypertune.objectives import UserObjective
from hypertune.records import Assignment
if __name__ == "__main__":
    size, storage = int(sys.argv[1]), sys.argv[2]
    options = {{"storage": storage}} if storage else {{}}
    runner = registry.load("runner", "ray")(address="local", max_concurrent=1, **options)
    recipe = UserObjective("ray_files:train", Path({str(HERE)!r}))
    runner.start(recipe, lambda number, report: False, folder=os.getcwd(), prunes=False)
    try:
        runner.check()
        marks = []
        for number in range(6):
            begun = time.perf_counter(), time.process_time()
            runner.submit(Assignment(number, {{"bytes": size}}, 0, os.path.join(os.getcwd(), "trials", str(number))))
            while not runner.wait(10.0):
                pass
            marks.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    finally:
        runner.close()
    walls, cpus = zip(*sorted(marks[1:]))
    print(json.dumps({{"wall": walls[2], "driver_cpu": sorted(cpus)[2]}}))
"""


def run(script, folder, *arguments):
    folder.mkdir(parents=True)
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.bench
@pytest.mark.ray
def test_trivial_trials(tmp_path):
    runners = {
        "local": {"name": "local", "workers": 2},
        "ray": {"name": "ray", "max_concurrent": 2},
    }
    found = {name: [] for name in runners}
    for turn in range(ROUNDS):
        for name, runner in runners.items():
            found[name].append(run(STUDY, tmp_path / f"{name}{turn}", "1000", json.dumps(runner)))
    print("\n1,000 trivial trials, 2 at a time, median (quartiles) in ms a trial")
    medians = {}
    for name, rounds in found.items():
        for what in ("wall_ms", "driver_cpu_ms"):
            low, middle, high = statistics.quantiles([each[what] for each in rounds], n=4)
            medians[name, what] = middle
            print(f"{name:<6} {what:<14} {middle:7.2f}  ({low:.2f} .. {high:.2f})")
    print(f"ceiling of one driver: {1000 / medians['ray', 'driver_cpu_ms']:.0f} trials a second of its CPU time")
    assert medians["ray", "wall_ms"] < 300


@pytest.mark.bench
@pytest.mark.ray
def test_files_on_their_way(tmp_path):
    print("\na checkpoint from a trial to the run folder, median of 5")
    for megabytes in (0, 1, 10, 100):
        for kind in ("through Ray", "storage"):
            folder = tmp_path / f"{kind}{megabytes}".replace(" ", "-")
            storage = str(tmp_path / f"store{megabytes}") if kind == "storage" else ""
            took = run(FILES, folder, str(megabytes << 20), storage)
            print(f"{megabytes:>4} MB {kind:<12} {took['wall']:7.3f} s, driver CPU {took['driver_cpu']:.3f} s")
            assert took["wall"] < 60
