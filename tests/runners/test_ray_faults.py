"""Nodes and drivers die in mid-search: the study ends with what it was asked for, nothing lost and nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from hypertune.runners._ray_storage import read_pointer

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent


class Search:
    """A search of ``ray_objectives:counts_to`` in a process of its own."""

    def __init__(self, folder, cluster, n_trials, cpu, tracking="none", **runner):
        self.folder = folder
        self.run = folder / "runs" / "s"
        runner = {"name": "ray", "address": cluster.address, "max_concurrent": 2, **runner}
        content = {
            "study": {"name": "s", "n_trials": n_trials, "metric": "value"},
            "objective": "ray_objectives:counts_to",
            "space": {"x": {"type": "float", "low": 0, "high": 1}},
            "sampler": "random",
            "tracking": tracking,
            "runner": {**runner, "resources_per_trial": {"cpu": cpu}},
            "source": str(HERE),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "hypertune", *arguments, "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def events(self):
        file = self.run / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition, process, seconds=200):
        end = time.monotonic() + seconds
        while not condition(self.events()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    def saved(self, number):
        """Return the step up to which the trial's state has left its node."""
        name = f"trials/{number:04d}/state.pt"
        files = [self.run / name, *self.folder.glob(f"store/*/{name}")]
        contents = [file.read_bytes() for file in files if file.exists()]
        return max((json.loads(each)["step"] for each in contents if read_pointer(each) is None), default=0)

    def ended(self, process):
        _, errors = process.communicate(timeout=250)
        assert process.returncode == 0, errors
        return json.loads((self.run / "result.json").read_text())


def steps(events):
    return Counter(event["number"] for event in events if event["event"] == "Reported")


def running(events):
    return {e["number"] for e in events if e["event"] == "Started"} - ends(events).keys()


def ends(events):
    return Counter(e["number"] for e in events if e["event"] in ("Finished", "Failed", "Pruned"))


def check(search, result, n_trials):
    """Exactly n_trials finished; what was interrupted was repeated once, from where it was."""
    assert result["finished"]
    assert result["counts"]["complete"] == n_trials
    assert result["counts"]["failed"] == result["counts"]["running"] == result["counts"]["pruned"] == 0
    events, trials = search.events(), {trial["number"]: trial for trial in result["trials"]}
    assert ends(events) == dict.fromkeys(trials, 1)
    assert {trial["metrics"]["shipped"] for trial in trials.values() if trial["state"] == "complete"} == {1.0}
    interrupted = {number for number, trial in trials.items() if trial["state"] == "interrupted"}
    retries = {trial["retry_of"]: trial for trial in trials.values() if "retry_of" in trial}
    assert set(retries) == interrupted
    fresh = [trial["params"]["x"] for trial in trials.values() if "retry_of" not in trial]
    assert len(set(fresh)) == len(fresh) == n_trials
    for number, retry in retries.items():
        assert (retry["params"], retry["seed"]) == (trials[number]["params"], trials[number]["seed"])
    for number in trials:
        reported = [e["report"]["step"] for e in events if e["event"] == "Reported" and e["number"] == number]
        assert len(set(reported)) == len(reported)
    return interrupted, retries


@pytest.mark.parametrize("stored", [False, True], ids=["through-ray", "storage"])
def test_a_node_dies(ray_cluster, tmp_path, stored):
    node = ray_cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
    storage = {"storage": str(tmp_path / "store")} if stored else {}
    search = Search(tmp_path, ray_cluster, 7, cpu=2, **storage)
    process = search.start("search", "config.yaml")
    try:
        search.wait_for(lambda events: _busy(search, events, node.node_id) and ends(events), process)
        ray_cluster.remove_node(node, allow_graceful=False)
        result = search.ended(process)
    finally:
        process.kill()
    interrupted, retries = check(search, result, 7)
    assert interrupted
    workers = {e["number"]: e["worker"] for e in search.events() if e["event"] == "Started"}
    assert {workers[number].endswith(node.node_id[:6]) for number in interrupted} == {True}
    assert {workers[retry["number"]].endswith(node.node_id[:6]) for retry in retries.values()} == {False}
    # The one that had saved its state did not begin anew.
    assert max(retry["metrics"]["begun"] for retry in retries.values()) >= 2
    for number in interrupted:
        assert "its worker on node" in next(t for t in result["trials"] if t["number"] == number)["reason"]
    if stored:
        assert list((tmp_path / "store").rglob("state.pt")) == []


def _busy(search, events, node):
    """Whether some of a trial on the node is safe and it will not have ended when the node is gone."""
    there = {e["number"] for e in events if e["event"] == "Started" and e["worker"].endswith(node[:6])}
    return any(steps(events)[number] <= 8 and search.saved(number) >= 2 for number in running(events) & there)


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1 about MLflow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # mlflow.types.responses
def test_the_driver_is_killed_and_resumed(ray_cluster, tmp_path):
    from mlflow import MlflowClient

    search = Search(tmp_path, ray_cluster, 4, cpu=1, tracking={"experiment": "e"})
    process = search.start("search", "config.yaml")
    search.wait_for(lambda events: ends(events) and any(2 <= search.saved(n) <= 10 for n in running(events)), process)
    done = set(ends(search.events()))
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(below, timeout=30)
    result = search.ended(search.start("resume", "s"))
    interrupted, retries = check(search, result, 4)
    assert interrupted
    assert not interrupted & done
    assert max(retry["metrics"]["begun"] for retry in retries.values()) >= 2
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert Counter(run.data.tags["hypertune.trial"] for run in children) == {
        str(trial["number"]): 1 for trial in result["trials"]
    }
    states = {run.data.tags["hypertune.trial"]: run.info.status for run in children}
    assert states == {
        str(t["number"]): {"complete": "FINISHED", "interrupted": "KILLED"}[t["state"]] for t in result["trials"]
    }
