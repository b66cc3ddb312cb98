"""A small finished study, ``hypertune ui`` on it, and a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ARTIFACTS = Path(__file__).parent.parent / "artifacts"
README_IMAGES = {"study", "report"}  # written to HYPERTUNE_SCREENSHOTS too
WAIT = 60_000  # milliseconds; a busy machine renders MLflow's pages slowly


@dataclass(frozen=True)
class Page:
    """A study in the MLflow UI."""

    base: str
    experiment: str
    run: str
    folder: Path
    task: str

    def url(self, route: str) -> str:
        return f"{self.base}/#{route}{'&' if '?' in route else '?'}workflowType=machine_learning"


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A self-tuned study of three trials, and ``hypertune ui`` on it."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from hypertune import run_search

    folder = tmp_path_factory.mktemp("browser")
    pretty = "HYPERTUNE_SCREENSHOTS" in os.environ  # the README deserves more than three trials of a trifle
    task = "digits" if pretty else "wine"
    content = {
        "study": {"name": "self-tuned", "n_trials": 12 if pretty else 3, "folder": str(folder / "runs")},
        "family": "mlp",
        "task": task,
        "space": {
            "lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True, "doc": "Adam step size"},
            "dropout": {"type": "float", "low": 0.0, "high": 0.8, "self_tune": True, "doc": "tuned in the trial"},
        },
        "sampler": "stn",
        "trial": {"epochs": 12 if pretty else 5, "batch_size": 64 if pretty else 32},
        "runner": "inline",
        "tracking": {"register": "self-tuned-mlp"},
    }
    run_search(content, quiet=True)
    command = [sys.executable, "-u", "-m", "hypertune", "ui", "self-tuned", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            break
    found = re.search(r"(http://127\.0\.0\.1:\d+)/#/experiments/(\d+)/runs/(\w+)", "".join(lines))
    assert found, lines
    yield Page(found[1], found[2], found[3], folder, task)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stdout.close()


@pytest.fixture(scope="session")
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(study: Page, _chromium: Any) -> Iterator[Any]:
    """A tab of its own; no page may raise an error in its scripts."""
    context = _chromium.new_context(viewport={"width": 1440, "height": 900})
    # MLflow opens its assistant over a third of the first page.
    # It is only for MLflow's own pages: the report's frame has no storage, and must not need any.
    context.add_init_script(
        "if (self === top) localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    tab = context.new_page()
    tab.set_default_timeout(WAIT)
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    context.close()
    assert errors == []


@pytest.fixture
def screenshot(page: Any) -> Callable[[str], None]:
    """Keep a picture of the tab as a test artifact."""

    def take(name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{name}.png")
        folder = os.environ.get("HYPERTUNE_SCREENSHOTS")
        if folder and name in README_IMAGES:
            Path(folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(ARTIFACTS / f"{name}.png", Path(folder) / f"{name}.png")

    return take
