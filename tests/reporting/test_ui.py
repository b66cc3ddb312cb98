"""The real MLflow UI on the store of a real run, looked at with a real browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
import yaml

from hypertune import run_search
from hypertune.errors import ConfigError
from hypertune.reporting.ui import serve

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


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
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
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


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_page_shows_the_study(ui, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    url, _, _ = ui
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("review-me").first.wait_for(timeout=60_000)
        page.get_by_text("best/value").first.wait_for(timeout=60_000)
        page.screenshot(path=os.environ.get("HYPERTUNE_SCREENSHOT", tmp_path / "study.png"))
        browser.close()


def test_an_untracked_run_is_one_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"study": {"name": "s", "n_trials": 1}, "family": "mlp", "task": "wine", "trial": {"epochs": 1}}
    run_search({**content, "runner": "inline", "tracking": "none"}, quiet=True)
    assert yaml.safe_load((tmp_path / "runs" / "s" / "config.yaml").read_text())["tracking"]["enabled"] is False
    with pytest.raises(ConfigError, match="not tracked in MLflow"):
        serve("s", tmp_path / "runs", port=0, open_browser=False, say=print)
