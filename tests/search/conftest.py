from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
X = {"x": {"type": "float", "low": 0, "high": 1}}
OBJECTIVE = {
    "study": {"name": "s", "n_trials": 6},
    "objective": "user_code:quadratic",
    "space": X,
    "tracking": "none",
    "source": str(HERE),
}
FAMILY = {
    "study": {"name": "s", "n_trials": 3},
    "family": "user_code:build",
    "task": "user_code:task",
    "space": {
        "hidden": {"type": "int", "low": 4, "high": 16},
        "p": {"type": "float", "low": 0, "high": 0.5},
        "lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    },
    "trial": {"epochs": 2, "batch_size": 32},
    "tracking": "none",
    "source": str(HERE),
}


def merged(base, changes):
    content = json.loads(json.dumps(base))
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict) and key != "space":
            content[key].update(value)
        elif value is None and key != "tracking":
            content.pop(key, None)
        else:
            content[key] = value
    return content


@pytest.fixture
def objective():
    return lambda **changes: merged(OBJECTIVE, changes)


@pytest.fixture
def family():
    return lambda **changes: merged(FAMILY, changes)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class CommandLine:
    """Runs ``hypertune`` in a process of its own, as a user does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, content, name="config.yaml"):
        file = self.folder / name
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(file)

    def __call__(self, *arguments, **keywords):
        command = [sys.executable, "-m", "hypertune", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder, timeout=240, **keywords)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def start(self, *arguments):
        command = [sys.executable, "-m", "hypertune", *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, start_new_session=True
        )

    def events(self, run="s"):
        file = self.folder / "runs" / run / "events.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition(self.events()):
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.05)

    def interrupt(self, process, number=signal.SIGINT):
        os.killpg(process.pid, number)


@pytest.fixture
def hypertune(tmp_path):
    return CommandLine(tmp_path)
