"""The real MLflow UI on the store of a real run; tests/browser looks at it with a real browser."""

from __future__ import annotations

import http.server
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request

import psutil
import pytest
import yaml

from hypertune import run_search
from hypertune.errors import ConfigError, TrackingError
from hypertune.reporting.ui import serve


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    """A finished study and ``hypertune ui`` on it: (url of the study's page, filters it printed)."""
    folder = tmp_path_factory.mktemp("ui")
    content = {
        "study": {"name": "review-me", "n_trials": 3, "folder": str(folder / "runs")},
        "family": "mlp",
        "task": "wine",
        "trial": {"epochs": 2},
        "runner": "inline",
    }
    run_search(content, quiet=True)
    command = [sys.executable, "-u", "-m", "hypertune", "ui", "review-me", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if "Ctrl-C" in line:
            break
    assert lines, process.stderr.read()
    url = re.search(r"http://127\.0\.0\.1:\d+/\S+", lines[0]).group()
    filters = {line.split(": ")[0]: line.split(": ", 1)[1] for line in lines if line.startswith("filter")}
    yield url, filters, folder
    port = url.split(":")[2].split("/")[0]
    process.send_signal(signal.SIGTERM)  # Ctrl-C is what tests/browser ends it with
    assert process.wait(timeout=60) == 0
    assert not [p for p in psutil.process_iter(["cmdline"]) if port in (p.info["cmdline"] or [])]
    process.stdout.close()
    process.stderr.close()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1 about MLflow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # mlflow.types.responses
def test_the_printed_filters_find_the_trials(ui):
    from mlflow import MlflowClient

    url, filters, folder = ui
    client = MlflowClient(f"sqlite:///{folder / 'runs' / 'mlflow.db'}")
    experiment = url.split("/experiments/")[1].split("/")[0]
    found = {title: len(client.search_runs([experiment], text)) for title, text in filters.items()}
    assert found == {
        "filter for all trials of this study": 3,
        "filter for finished trials": 3,
        "filter for failed trials and why": 0,
    }


def test_it_listens_on_the_loopback_interface(ui):
    url, _, _ = ui
    with urllib.request.urlopen(url.split("#")[0] + "health", timeout=10) as answer:
        assert answer.status == 200


def test_the_store_is_not_in_a_command_line(ui):
    url, _, folder = ui
    port = int(url.split(":")[2].split("/")[0])
    servers = [process for process in psutil.process_iter(["cmdline"]) if str(port) in (process.info["cmdline"] or [])]
    assert servers
    assert not any(str(folder) in " ".join(process.info["cmdline"]) for process in servers)


def tracked(folder, uri, **files):
    """A run folder as a search leaves it."""
    run = folder / "runs" / "s"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"study": "s", "study_id": "1", "storage": "", "tracking": uri}))
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content))
    return folder / "runs"


def serve_quietly(root, run="s", port=0):
    said = []
    code = serve(run, root, port=port, open_browser=False, say=said.append)
    return code, said


def test_an_unknown_run_is_one_error(tmp_path):
    root = tracked(tmp_path, "sqlite:////nowhere/mlflow.db")
    with pytest.raises(ConfigError, match=r"no such run; given 't'"):
        serve_quietly(root, "t")


@pytest.mark.parametrize(
    ("revision", "message"),
    [("0a8213491aaa", r"older MLflow.*mlflow db upgrade sqlite:///"), ("ffffffffffff", r"probably a newer one")],
)
def test_a_store_of_another_version_is_one_error_and_starts_nothing(tmp_path, monkeypatch, revision, message):
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    connection.close()
    monkeypatch.setattr("hypertune.reporting.ui.subprocess.Popen", None)
    with pytest.raises(TrackingError, match=message):
        serve_quietly(tracked(tmp_path, f"sqlite:///{tmp_path}/mlflow.db"))


def test_a_port_that_is_taken_is_one_error(tmp_path):
    root = tracked(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"--port: the port cannot be used"):
            serve_quietly(root, port=taken.getsockname()[1])


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_of_a_run_on_a_server_the_page_there_is_shown_without_password(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://me:swordfish@127.0.0.1:{server.server_port}/"
        published = {"experiment_id": "7", "parent_run_id": "abc"}
        root = tracked(tmp_path, uri, published=published, result={"finished": True})
        code, said = serve_quietly(root)
        server.shutdown()
    assert code == 0
    assert said[0].endswith(
        f"http://127.0.0.1:{server.server_port}/#/experiments/7/runs/abc?workflowType=machine_learning"
    )
    assert "swordfish" not in "".join(said)
    assert not any("not finished" in line for line in said)


def test_a_server_that_does_not_answer_is_one_error(tmp_path):
    root = tracked(tmp_path, "http://me:swordfish@127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"does not answer; given 'http://127\.0\.0\.1:9'"):
        serve_quietly(root)


def test_a_running_study_and_an_unpublished_one_are_said_to_be_so(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = tracked(tmp_path, f"http://127.0.0.1:{server.server_port}")
        _, said = serve_quietly(root)
        server.shutdown()
    assert any("nothing of this run is in MLflow yet" in line for line in said)
    assert any("not finished" in line for line in said)
    assert any("{parent_run_id}" in line for line in said)


def test_a_store_with_a_page_of_its_own_is_one_error(tmp_path):
    with pytest.raises(ConfigError, match="has a page of its own"):
        serve_quietly(tracked(tmp_path, "databricks://profile"))


def test_an_untracked_run_is_one_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"study": {"name": "s", "n_trials": 1}, "family": "mlp", "task": "wine", "trial": {"epochs": 1}}
    run_search({**content, "runner": "inline", "tracking": "none"}, quiet=True)
    assert yaml.safe_load((tmp_path / "runs" / "s" / "config.yaml").read_text())["tracking"]["enabled"] is False
    with pytest.raises(ConfigError, match="not tracked in MLflow"):
        serve("s", tmp_path / "runs", port=0, open_browser=False, say=print)
