"""The runner against a real Ray on this machine."""

from __future__ import annotations

import dataclasses
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
import ray

from hypertune import registry
from hypertune.errors import ConfigError, HypertuneError, StorageError
from hypertune.objectives import UserObjective
from hypertune.records import TRIAL_STATE, Assignment
from hypertune.runners import ray as module
from hypertune.runners._ray_storage import RayStorage, read_pointer

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent
RULES = lambda number, report: False  # noqa: E731


@pytest.fixture(scope="module")
def connected(ray_cluster):
    """This process is connected, as one is that uses Ray for other things too; the runner leaves it so."""
    ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")
    yield ray_cluster
    ray.shutdown()


def make(timeout=None, **options):
    options = {"address": "auto", "max_concurrent": 1, "resources_per_trial": {"cpu": 0.5}, **options}
    return registry.load("runner", "ray")(timeout=timeout, **options)


def run(runner, name, n, folder, *, on_report=RULES, prunes=False, retry_of=None, before=lambda: None):
    """Run n trials; return how each ended, by number."""
    ended, submitted = {}, 0
    runner.start(UserObjective(f"ray_objectives:{name}", HERE), on_report, folder=str(folder), prunes=prunes)
    try:
        runner.check()
        before()
        while len(ended) < n:
            while submitted < n and runner.free():
                path = folder / "trials" / f"{submitted:04d}"
                retried = (retry_of or {}).get(submitted)
                runner.submit(Assignment(submitted, {"x": submitted / 10}, 100 + submitted, str(path), retried))
                submitted += 1
            for end in runner.wait(5.0):
                ended[end.number] = end
    finally:
        runner.close()
    return ended


@pytest.fixture(scope="module")
def outcomes(connected, tmp_path_factory):
    """How eight trials ended that one actor ran one after the other, and their run folder."""
    folder = tmp_path_factory.mktemp("run")
    return run(make(timeout=3.0), "one_after_the_other", 8, folder), folder


def test_trials_share_a_process_and_nothing_else(outcomes):
    ended, _ = outcomes
    assert [ended[n].result.value for n in (0, 1, 5)] == [0.0, 0.0, 0.0]
    assert ended[0].result.metrics["pid"] == ended[1].result.metrics["pid"]
    assert ray.is_initialized()


def test_files_and_output_reach_the_run_folder(outcomes):
    ended, run_folder = outcomes
    folder = run_folder / "trials" / "0002"
    assert (folder / "log.txt").read_text().splitlines() == ["hello from the trial", "and from below Python"]
    assert (folder / "sub" / "notes.txt").read_text() == "kept"
    assert ended[2].result.checkpoint == str(folder / "best.pt")
    assert (folder / "best.pt").read_bytes() == b"w" * 300_000
    assert [file.name for file in folder.iterdir() if "tmp" in file.name or file.name == TRIAL_STATE] == []


def test_a_failing_trial_leaves_its_traceback(outcomes):
    ended, folder = outcomes
    assert (ended[3].how, ended[3].reason) == ("failed", "ZeroDivisionError: one by zero")
    log = (folder / "trials" / "0003" / "log.txt").read_text()
    assert log.startswith("about to fail\nTraceback")
    assert log.rstrip().endswith("ZeroDivisionError: one by zero")


def test_a_trial_that_hangs_is_stopped(outcomes):
    ended, _ = outcomes
    assert (ended[4].how, ended[4].reason) == ("failed", "trial 4: timed out after 3 s (trial.timeout)")


def test_a_trial_that_crashes_fails_and_the_next_one_runs(outcomes):
    ended, _ = outcomes
    assert ended[6].how == "failed"
    assert "killed by SIGKILL" in ended[6].reason
    assert ended[7].result.value == pytest.approx(0.7)


def test_checkpoints_go_to_the_storage_and_leave_it_with_the_run_folders(connected, tmp_path):
    storage = tmp_path / "store"
    runner = make(storage=str(storage))
    folder = tmp_path / "trials" / "0000"
    stored = []

    def look(*_):
        stored.extend(file.relative_to(storage) for file in storage.rglob("best.pt"))
        return False

    runner.start(UserObjective("ray_objectives:prints", HERE), look, folder=str(tmp_path), prunes=False)
    try:
        runner.check()
        runner.submit(Assignment(0, {"x": 0.0}, 0, str(folder)))
        assert read_pointer((folder / TRIAL_STATE).read_bytes()).endswith(f"trials/0000/{TRIAL_STATE}")
        while not runner.wait(5.0):
            pass
        look()
        assert [path.parts[1:] for path in stored] == [("trials", "0000", "best.pt")]
        assert (folder / "best.pt").read_bytes() == b"w" * 300_000
        assert not (folder / TRIAL_STATE).exists()
        (folder / "best.pt").unlink()  # as the driver does with one that cannot win
    finally:
        runner.close()
    assert list(storage.rglob("best.pt")) == []
    assert list(storage.rglob(".probe*")) == []


def test_a_lost_actor_interrupts_its_trial_until_the_retries_are_used_up(connected, tmp_path):
    ended = run(make(retries=1), "kills_its_actor", 2, tmp_path, retry_of={1: 0})
    assert (ended[0].how, ended[1].how) == ("interrupted", "failed")
    assert "its worker on node" in ended[0].reason
    assert "given up after 1 retries (runner.retries)" in ended[1].reason
    assert (tmp_path / "trials" / "0000" / TRIAL_STATE).read_bytes() == b"saved"


def test_stop_all_ends_trials_and_their_processes(connected, tmp_path):
    runner, pids = make(), []

    def note(number, report):
        pids.append(int(report.metrics["pid"]))
        return False

    runner.start(UserObjective("ray_objectives:sleeps", HERE), note, folder=str(tmp_path), prunes=False)
    try:
        runner.check()
        runner.submit(Assignment(7, {}, 0, str(tmp_path / "0007")))
        while not pids:
            assert runner.wait(0.1) == []
        assert [(end.number, end.how) for end in runner.stop_all()] == [(7, "interrupted")]
        assert runner.free() == 0
    finally:
        runner.close()
    runner.close()
    end = time.monotonic() + 15
    while psutil.pid_exists(pids[0]):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_sigterm_stays_the_drivers(ray_cluster, connected):
    before = signal.getsignal(signal.SIGTERM)
    ray.shutdown()
    runner = make(address=ray_cluster.address)
    try:
        runner.start(UserObjective("ray_objectives:value", HERE), RULES, folder="/nowhere", prunes=False)
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        runner.close()
        assert not ray.is_initialized()
        ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")


def refused(runner, folder, error=ConfigError, name="value"):
    with pytest.raises(error) as caught:
        run(runner, name, 1, folder)
    return str(caught.value)


def test_resources_no_node_has(connected, tmp_path):
    begun = time.monotonic()
    text = refused(make(resources_per_trial={"cpu": 64, "gpu": 0.5, "custom": {"a100": 1}}), tmp_path)
    assert time.monotonic() - begun < 10
    assert text.startswith("runner.resources_per_trial: no node of the cluster can hold a trial, and none will come")
    assert "the most that one node has is CPU 2, GPU 0, a100 0" in text
    assert "set runner.autoscaling: true" in text
    text = refused(make(resources_per_trial={"cpu": 64}, autoscaling=True, start_timeout=2), tmp_path)
    assert "none came in 2 s" in text
    assert "raise runner.start_timeout" in text


def test_a_cluster_that_is_busy(connected, tmp_path):
    @ray.remote(num_cpus=2)
    class Everything:
        def ready(self):
            return True

    holder = Everything.remote()
    ray.get(holder.ready.remote())
    text = refused(make(start_timeout=2), tmp_path, HypertuneError)
    ray.kill(holder)
    assert text.startswith("runner.start_timeout: no worker has started in 2 s; the cluster has CPU 0 free of CPU 2")


def test_other_versions_on_the_nodes(connected, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "versions", lambda: "hypertune 99.0, Python 3.11")
    text = refused(make(), tmp_path)
    assert "the driver hypertune 99.0, Python 3.11" in text
    assert "install the same versions" in text


def test_a_storage_that_the_nodes_do_not_share(connected, tmp_path, monkeypatch):
    monkeypatch.setattr(RayStorage, "probe", lambda self: str(tmp_path / "elsewhere" / ".probe"))
    text = refused(make(storage=str(tmp_path)), tmp_path, StorageError)
    assert "runner.storage: the storage cannot be read on node" in text
    assert "a folder that all nodes mount" in text


def test_an_objective_that_cannot_be_made(connected, tmp_path):
    text = refused(make(), tmp_path, name="nothing_of_that_name")
    assert text.startswith("objective: 'ray_objectives' has no 'nothing_of_that_name'")


def test_a_recipe_that_cannot_be_sent(tmp_path):
    with pytest.raises(ConfigError, match=r"does not reach a worker.*my_module:train"):
        make().start(lambda: None, RULES, folder=str(tmp_path), prunes=False)


def test_a_storage_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    runner = make(storage=str(tmp_path / "file" / "x"))
    with pytest.raises(StorageError, match=r"runner\.storage: the storage cannot be written"):
        runner.start(UserObjective("ray_objectives:value", HERE), RULES, folder=str(tmp_path), prunes=False)
    runner.close()


@pytest.fixture
def disconnected(ray_cluster, connected):
    ray.shutdown()
    yield ray_cluster
    ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")


def test_no_ray_at_the_address(disconnected, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for scheme in ("", "ray://"):
        text = refused(make(address=f"{scheme}127.0.0.1:{port}"), tmp_path)
        assert text.startswith("runner.address: Ray is not running at this address")
        assert "ray start --head" in text
    for wrong in ("somewhere", "ray://host", "host:port"):
        assert "runner.address: not an address" in refused(make(address=wrong), tmp_path)


def test_another_ray_on_the_cluster(disconnected, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "__version__", "1.13.0")
    text = refused(make(address=disconnected.address), tmp_path)
    assert text.startswith("runner.address: this machine and the cluster run different versions")


def test_a_home_folder_is_not_shipped(disconnected, tmp_path, monkeypatch):
    monkeypatch.setattr("hypertune.runners._ray_cluster._MAX_FILES", 3)
    for index in range(5):
        (tmp_path / f"{index}.txt").touch()
    recipe = dataclasses.replace(UserObjective("ray_objectives:value", HERE), folder=tmp_path)
    runner = make(address=disconnected.address)
    with pytest.raises(ConfigError, match="a folder of their own"):
        runner.start(recipe, RULES, folder=str(tmp_path / "runs" / "s"), prunes=False)
