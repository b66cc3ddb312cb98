"""Kill the driver at any moment: the search goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest


def kinds(events):
    return Counter(event["event"] for event in events)


def outcome(hypertune, run="s"):
    return json.loads((hypertune.folder / "runs" / run / "result.json").read_text())


def kill(hypertune, process):
    process.kill()
    process.communicate()
    # Its workers notice within a second and leave.
    psutil.wait_procs([p for p in psutil.process_iter() if _of(p, hypertune.folder)], timeout=10)


def _of(process, folder):
    try:
        return process.cwd() == str(folder)
    except psutil.Error:
        return False


def test_killed_and_resumed_twice_it_ends_exactly(objective, hypertune):
    config = hypertune.write(
        objective(objective="user_code:slow", study={"n_trials": 7}, runner={"name": "local", "workers": 2})
    )
    first = hypertune.start("search", config)
    hypertune.wait_for(lambda events: kinds(events)["Finished"] >= 2 and kinds(events)["Started"] >= 4)
    kill(hypertune, first)
    second = hypertune.start("resume", "s")
    hypertune.wait_for(lambda events: kinds(events)["Finished"] >= 4 and kinds(events)["StudyOpened"] == 2)
    kill(hypertune, second)
    done = hypertune("resume", "s")
    assert done.returncode == 0, done.stderr
    result = outcome(hypertune)
    assert result["finished"]
    assert result["counts"]["complete"] == 7
    assert result["counts"]["running"] == result["counts"]["failed"] == 0
    interrupted = [t for t in result["trials"] if t["state"] == "interrupted"]
    assert interrupted
    by_number = {t["number"]: t for t in result["trials"]}
    retries = {t["retry_of"]: t for t in result["trials"] if "retry_of" in t}
    assert set(retries) == {t["number"] for t in interrupted}
    for number, retry in retries.items():
        assert retry["params"] == by_number[number]["params"]
        assert retry["seed"] == by_number[number]["seed"]
    # Nothing twice: every proposal that is not a repetition is a new one.
    fresh = [t["params"]["x"] for t in result["trials"] if "retry_of" not in t]
    assert len(set(fresh)) == len(fresh) == 7
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{hypertune.folder / 'runs' / 'study.db'}")
    states = Counter(trial.state.name for trial in study.trials)
    assert states == {"COMPLETE": 7, "FAIL": len(interrupted)}
    ends = Counter(e["number"] for e in hypertune.events() if e["event"] in ("Finished", "Failed", "Pruned"))
    assert set(ends.values()) == {1}


def test_ctrl_c_once_finishes_what_runs_and_resume_goes_on(objective, hypertune):
    config = hypertune.write(objective(objective="user_code:slow", study={"n_trials": 4}))
    process = hypertune.start("search", config)
    hypertune.wait_for(lambda events: kinds(events)["Reported"] >= 1)
    hypertune.interrupt(process)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the running trials finish first" in errors
    assert outcome(hypertune)["finished"] is False
    assert outcome(hypertune)["counts"] == {"complete": 1, "pruned": 0, "failed": 0, "interrupted": 0, "running": 0}
    done = hypertune("resume", "s")
    assert done.returncode == 0
    assert outcome(hypertune)["counts"]["complete"] == 4


@pytest.mark.parametrize("runner", ["local", "inline"])
def test_ctrl_c_twice_stops_at_once(objective, hypertune, runner):
    config = hypertune.write(objective(objective="user_code:sleeps", study={"n_trials": 3}, runner=runner))
    process = hypertune.start("search", config)
    hypertune.wait_for(lambda events: kinds(events)["Started"] >= 1)
    hypertune.interrupt(process)
    try:
        process.wait(1.0)
        pytest.fail("ended although a trial was running")
    except subprocess.TimeoutExpired:
        pass
    hypertune.interrupt(process)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "hypertune resume runs/s" in out
    assert outcome(hypertune)["counts"]["interrupted"] == 1
    assert hypertune.events()[-1]["event"] == "StudyClosed"


def test_sigterm_is_as_good_as_two(objective, hypertune):
    config = hypertune.write(objective(objective="user_code:sleeps", study={"n_trials": 3}))
    process = hypertune.start("search", config)
    hypertune.wait_for(lambda events: kinds(events)["Started"] >= 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert outcome(hypertune)["counts"]["interrupted"] == 1


def test_a_run_killed_before_its_first_trial_resumes(objective, hypertune):
    config = hypertune.write(objective(runner="local"))
    process = hypertune.start("search", config)
    file = hypertune.folder / "runs" / "s" / "run.json"
    hypertune.wait_for(lambda events: file.exists())
    kill(hypertune, process)
    done = hypertune("resume", "s")
    assert done.returncode == 0, done.stderr
    assert outcome(hypertune)["counts"]["complete"] == 6


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1 about MLflow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # mlflow.types.responses
def test_mlflow_tree_is_unbroken(objective, hypertune):
    """One parent, one child for each trial, whatever was killed in between."""
    from mlflow import MlflowClient

    content = objective(objective="user_code:slow", study={"n_trials": 4}, runner={"name": "local", "workers": 2})
    content["tracking"] = {"experiment": "e"}
    config = hypertune.write(content)
    process = hypertune.start("search", config)
    hypertune.wait_for(lambda events: kinds(events)["Finished"] >= 1 and kinds(events)["Started"] >= 3)
    kill(hypertune, process)
    done = hypertune("resume", "s")
    assert done.returncode == 0, done.stderr
    assert "MLflow lacks" not in done.stderr
    client = MlflowClient(f"sqlite:///{Path(hypertune.folder) / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(parents) == 1
    assert parents[0].info.status == "FINISHED"
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    result = outcome(hypertune)
    assert Counter(r.data.tags["hypertune.trial"] for r in children) == {str(t["number"]): 1 for t in result["trials"]}
    states = {"complete": "FINISHED", "interrupted": "KILLED"}
    for run in children:
        trial = result["trials"][int(run.data.tags["hypertune.trial"])]
        assert run.info.status == states[trial["state"]]
        assert float(run.data.params["x"]) == trial["params"]["x"]
        if trial["state"] == "complete":
            assert run.data.metrics["value"] == trial["value"]
            steps = [m.step for m in client.get_metric_history(run.info.run_id, "value") if m.value is not None]
            assert steps


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1 about MLflow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # mlflow.types.responses
def test_a_tracking_server_that_dies_in_mid_search(objective, hypertune, mlflow_server):
    """The search ends well without it; resume publishes the rest, everything once."""
    from mlflow import MlflowClient

    folder = hypertune.folder / "server"
    folder.mkdir()
    server = mlflow_server(folder, f"sqlite:///{folder / 'mlflow.db'}")
    content = objective(objective="user_code:slow", study={"n_trials": 3})
    content["tracking"] = {"uri": server.uri, "experiment": "e"}
    process = hypertune.start("search", hypertune.write(content))
    hypertune.wait_for(lambda events: kinds(events)["Finished"] >= 1)
    server.kill()
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert outcome(hypertune)["counts"]["complete"] == 3
    assert "MLflow lacks" in errors
    assert "hypertune resume s" in errors
    server.start()
    done = hypertune("resume", "s")
    assert done.returncode == 0, done.stderr
    assert "MLflow lacks" not in done.stderr
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(runs) - len(children) == 1
    assert sorted(run.data.tags["hypertune.trial"] for run in children) == ["0", "1", "2"]
    for run in children:
        assert run.info.status == "FINISHED"
        points = client.get_metric_history(run.info.run_id, "value")
        assert len({(p.step, p.timestamp) for p in points}) == len(points)
        # Twelve reports during the trial; the final value, which has the same name, apart.
        assert [p.step for p in points] == list(range(12))


def test_the_best_model_loads_in_a_fresh_process(family, hypertune):
    content = family()
    content["tracking"] = {"experiment": "e"}
    assert hypertune("search", hypertune.write(content)).returncode == 0
    published = json.loads((hypertune.folder / "runs" / "s" / "published.json").read_text())
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import mlflow.pytorch, torch
assert not any("search" in path and "tests" in path for path in sys.path)
mlflow.set_tracking_uri("sqlite:///{hypertune.folder / "runs" / "mlflow.db"}")
model = mlflow.pytorch.load_model("runs:/{published["parent_run_id"]}/model")
generator = torch.Generator().manual_seed(0)
x = torch.randn(120, 4, generator=generator)[80:]
y = (x[:, 0] + 0.5 * x[:, 1] > 0).long()
print((model(x).argmax(1) == y).float().mean().item())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == pytest.approx(outcome(hypertune)["best"]["metrics"]["test/accuracy"])
