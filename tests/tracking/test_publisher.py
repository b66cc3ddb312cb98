"""The publisher as a process of its own, against SQLite and against a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from hypertune.errors import ConfigError, TrackingError
from hypertune.records import (
    Event,
    Finished,
    Report,
    Reported,
    Started,
    StudyClosed,
    StudyInfo,
    StudyOpened,
    TrialResult,
)
from hypertune.tracking._publisher_process import _short_timeout
from hypertune.tracking.contract import Attachments
from hypertune.tracking.journal import JOURNAL_NAME, Journal
from hypertune.tracking.publisher import LOG_NAME, Publisher
from hypertune.tracking.status import PublisherStatus

T0 = 1_700_000_000.0


def trial(number: int, value: float) -> list[Event]:
    begin = T0 + 10 * number
    reports = [Reported(number, begin + step, Report(step, {"val/loss": value + step, "lr": 0.1})) for step in range(4)]
    params = {"lr": 0.1 * number}
    return [Started(number, begin, params, number), *reports, Finished(number, begin + 9, TrialResult(value))]


@pytest.fixture
def journal(info: StudyInfo) -> Journal:
    return Journal(Path(info.folder) / JOURNAL_NAME)


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def complete(reader: Any, count: int) -> None:
    """Check that every trial is there, exactly once, with every point exactly once."""
    children = reader.children()
    assert sorted(children) == list(range(count))
    for number, child in children.items():
        assert child.info.status == "FINISHED"
        assert child.data.params == {"lr": str(0.1 * number)}
        begin = int((T0 + 10 * number) * 1000)
        points = [(step, begin + 1000 * step, float(number + step)) for step in range(4)]
        assert reader.history(child, "val/loss") == points
        assert reader.history(child, "value") == [(0, begin + 9000, float(number))]


MODEL = """
import numpy as np, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)

def load(number):
    torch.manual_seed(number)
    return Net(), np.zeros((2, 3), dtype=np.float32)
"""


def test_a_killed_publisher_is_replaced_and_everything_is_there_once(
    store: str,
    info: StudyInfo,
    journal: Journal,
    read: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a_published_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    from a_published_model import load

    begin = time.monotonic()
    publisher = Publisher.spawn(
        info.folder, store, "exp", info, Attachments(load, (str(tmp_path / "a_published_model.py"),))
    )
    assert time.monotonic() - begin < 1.0
    assert publisher.parent_run_id == ""
    publisher.wait_ready(60)
    reader = read(store, "exp")
    assert publisher.parent_run_id == reader.parent().info.run_id
    assert publisher.experiment_id == reader.experiment.experiment_id
    journal(StudyOpened(T0, info))
    for number in range(60):
        for event in trial(number, float(number)):
            journal(event)
    journal(StudyClosed(T0 + 1000, True, 0, {"value": 0.0}))
    eventually(lambda: len(reader.children()) > 5)
    os.kill(publisher._process.pid, signal.SIGKILL)  # type: ignore[arg-type]
    publisher._process.join()
    assert 5 < len(reader.children()) < 60, "the kill came too late to prove anything"

    status = publisher.close(60)
    assert (status.published, status.pending_events, status.error) == (True, 0, "")
    assert publisher.close() == status
    complete(reader, 60)
    parent = reader.parent()
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hypertune.best_model"].startswith("models:/")
    assert "hypertune.model_error" not in parent.data.tags
    assert reader.history(parent, "best/value") == [(0, int(T0 * 1000) + 9000, 0.0)]
    assert (Path(info.folder) / LOG_NAME).read_text() == ""  # MLflow's chatter included


def test_ctrl_c_and_a_dying_driver_do_not_lose_events(
    store: str, info: StudyInfo, journal: Journal, read: Callable[..., Any]
) -> None:
    code = f"""
import os, signal, time
from pathlib import Path
from hypertune.records import StudyInfo
from hypertune.tracking.publisher import Publisher
if __name__ == "__main__":
    info = StudyInfo("a study", "minimize", "val/loss", 10, {info.folder!r}, {dict(info.tags)!r})
    publisher = Publisher.start(info.folder, {store!r}, "exp", info)
    print(publisher._process.pid, flush=True)
    while not (Path(info.folder) / "die").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    script = Path(info.folder) / "driver.py"
    script.write_text(code)
    driver = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    child = int(driver.stdout.readline())
    os.kill(child, signal.SIGINT)
    journal(StudyOpened(T0, info))
    for number in range(20):
        for event in trial(number, float(number)):
            journal(event)
    (Path(info.folder) / "die").touch()
    driver.wait()
    driver.stdout.close()

    def gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

    eventually(gone)
    complete(read(store, "exp"), 20)
    assert PublisherStatus.read(info.folder).published


@pytest.fixture
def server(tmp_path: Path, store: str, mlflow_server: Callable[[Path, str], Any]) -> Any:
    folder = tmp_path / "server"
    folder.mkdir()
    return mlflow_server(folder, store)


def test_a_server_killed_while_publishing_gets_everything_once(
    server: Any, info: StudyInfo, journal: Journal, read: Callable[..., Any]
) -> None:
    publisher = Publisher.start(info.folder, server.uri, "exp", info)
    reader = read(server._database, "exp")  # behind the server's back, so that it can be read while it is down
    journal(StudyOpened(T0, info))
    for number in range(40):
        for event in trial(number, float(number)):
            journal(event)
    eventually(lambda: len(reader.children()) > 3)
    server.kill()
    reached = len(reader.children())
    assert reached < 40, "the kill came too late to prove anything"
    for number in range(40, 45):
        for event in trial(number, float(number)):
            journal(event)
    eventually(lambda: publisher.status().state == "down")
    status = publisher.status()
    assert status.pending_events > 0
    assert "Connection" in status.error
    server.start()
    eventually(lambda: publisher.status().published)
    assert (publisher.status().state, publisher.status().error) == ("ok", "")
    complete(reader, 45)

    # It goes away again, and is not back when the driver wants to end.
    server.kill()
    for event in trial(45, 45.0):
        journal(event)
    journal(StudyClosed(T0 + 1000, True, 0, {"value": 0.0}))
    begin = time.monotonic()
    status = publisher.close(timeout=2.0)
    assert time.monotonic() - begin < 15
    assert (status.published, status.pending_events, status.state) == (False, 7, "down")
    assert not publisher._process.is_alive()
    server.start()
    again = Publisher.start(info.folder, server.uri, "exp", info)  # what a resume does
    assert again.parent_run_id == publisher.parent_run_id
    status = again.close(60)
    assert (status.published, status.state, status.error, status.skipped) == (True, "ok", "", ())
    complete(reader, 46)
    assert "View run" not in (Path(info.folder) / LOG_NAME).read_text()
    parent = reader.parent()
    assert parent.info.status == "FINISHED"
    client = read(server.uri, "exp").client
    result = Path(client.download_artifacts(parent.info.run_id, "result.json")).read_text()
    assert json.loads(result) == {"value": 0.0}


def test_what_keeps_a_publisher_from_starting_is_told(store: str, info: StudyInfo) -> None:
    begin = time.monotonic()
    with pytest.raises(TrackingError, match=r"tracking\.uri: .*Connection refused.*given 'http://127\.0\.0\.1:9'"):
        Publisher.start(info.folder, "http://127.0.0.1:9", "exp", info)
    assert time.monotonic() - begin < 25
    with (
        FileLock(Path(info.folder) / "publisher.lock"),
        pytest.raises(TrackingError, match=r"another process still publishes this run.*resume"),
    ):
        Publisher.start(info.folder, store, "exp", info, timeout=3.0)
    impatient = Publisher.spawn(info.folder, store, "exp", info)
    with pytest.raises(TrackingError, match=r"does not answer within 0\.1 s.*publisher\.log"):
        impatient.wait_ready(0.1)
    assert not impatient._process.is_alive()
    with pytest.raises(ConfigError, match=r"tracking\.log_model.*top level of a module"):
        Publisher.spawn(info.folder, store, "exp", info, Attachments(lambda number: None))


def test_a_server_that_never_answers_is_told_within_seconds(info: StudyInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    with _short_timeout():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "8"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "60"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")  # what a user sets holds
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begin = time.monotonic()
        with pytest.raises(TrackingError, match=r"timed out"):
            Publisher.start(info.folder, f"http://127.0.0.1:{silent.getsockname()[1]}", "exp", info)
        assert 2 <= time.monotonic() - begin < 20
