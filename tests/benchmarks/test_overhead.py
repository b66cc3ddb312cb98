"""What a trial costs beyond its training, next to plain Optuna with MLflow calls in the objective.

Both store the study in SQLite, log to MLflow on SQLite, have ten parameters and one metric point a trial, and the same
sampler. The report, which a study ends with, is timed apart. `make bench`, or
`pytest -m bench tests/benchmarks/test_overhead.py -s`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TRIALS = 1000
NAMES = [f"x{i}" for i in range(10)]

OURS = f"""
import json, time, psutil
from hypertune import run_search
from hypertune.records import Finished, Started
if __name__ == "__main__":
    memory, begun = {{}}, []
    def watch(event):
        if isinstance(event, Started) and not begun:
            begun.append(time.perf_counter())
        if isinstance(event, Finished) and (event.number + 1) % 100 == 0:
            memory[event.number + 1] = psutil.Process().memory_info().rss / 2**20
    content = {{
        "study": {{"name": "s", "n_trials": {TRIALS}, "metric": "value"}},
        "objective": "trivial:train",
        "space": {{name: {{"type": "float", "low": 0, "high": 1}} for name in {NAMES!r}}},
        "sampler": SAMPLER,
        "tracking": {{"report": False}},  # made once a study, and timed apart
        "source": {str(HERE)!r},
    }}
    result = run_search(content, quiet=True, listeners=[watch])
    seconds = time.perf_counter() - begun[0]
    assert result.counts["complete"] == {TRIALS}
    published = json.load(open(result.folder / "published.json"))
    assert published["offset"] == (result.folder / "events.jsonl").stat().st_size
    print(json.dumps({{"ms": 1000 * seconds / {TRIALS}, "memory": memory}}))
"""

PLAIN = f"""
import json, time, warnings
import mlflow, optuna
warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.WARNING)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("e")
samplers = {{
    "random": lambda: optuna.samplers.RandomSampler(seed=0),
    "tpe": lambda: optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True),
}}
study = optuna.create_study(storage="sqlite:///study.db", sampler=samplers[SAMPLER]())
def objective(trial):
    params = {{name: trial.suggest_float(name, 0, 1) for name in {NAMES!r}}}
    with mlflow.start_run(nested=True):
        value = sum(params.values())
        mlflow.log_params(params)
        mlflow.log_metric("value", value, step=0)
    return value
with mlflow.start_run():
    begun = time.perf_counter()
    study.optimize(objective, n_trials={TRIALS})
    seconds = time.perf_counter() - begun
print(json.dumps({{"ms": 1000 * seconds / {TRIALS}}}))
"""


def run(script, sampler, folder):
    folder.mkdir()
    (folder / "script.py").write_text(script.replace("SAMPLER", repr(sampler)))
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.bench
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_overhead_of_a_trial(tmp_path, sampler, capsys):
    ours = run(OURS, sampler, tmp_path / "ours")
    plain = run(PLAIN, sampler, tmp_path / "plain")
    memory = {int(n): mb for n, mb in ours["memory"].items()}
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "hypertune", "report", "s"], cwd=tmp_path / "ours", check=True)
    report = time.perf_counter() - begun
    with capsys.disabled():
        print(f"\n{sampler}: {TRIALS} trials, 10 parameters, everything published")
        print(f"  hypertune, local runner       {ours['ms']:6.1f} ms a trial")
        print(f"  optuna.optimize with MLflow   {plain['ms']:6.1f} ms a trial")
        print(f"  the report, once              {report:6.1f} s")
        print(
            f"  driver memory at 100, 500 and 1,000 trials: {memory[100]:.0f}, {memory[500]:.0f}, {memory[1000]:.0f} MB"
        )
    assert ours["ms"] < 50
    # What grows is the study itself, a few kilobytes a trial, as in Optuna alone.
    assert memory[1000] - memory[100] < 25
