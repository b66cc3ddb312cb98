from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from hypertune.records import TRIAL_STATE
from hypertune.runners._ray_files import HostFolder, TrialFolder, append, write
from hypertune.runners._ray_storage import RayStorage


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_folders_of_killed_actors_go_and_those_of_living_ones_stay(tmp_path):
    script = (
        "import os; from hypertune.runners._ray_files import HostFolder; f = HostFolder(); print(f.path); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    dead, living = done.stdout.strip(), HostFolder()
    for path in (dead, living.path):
        os.utime(path, (0, 0))
    fresh = HostFolder()
    assert {path.name for path in tmp_path.iterdir()} == {living.path.name, fresh.path.name}
    living.remove()
    fresh.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_sent_once_for_each_change(tmp_path):
    folder = TrialFolder(tmp_path / "0001")
    folder.begin(b"zero")
    assert folder.new_state() is None  # the driver has it
    write(folder.path / TRIAL_STATE, b"one")
    assert folder.new_state() == b"one"
    assert folder.new_state() is None
    (folder.path / TRIAL_STATE).unlink()
    assert folder.new_state() is None


def test_a_state_goes_to_the_storage_and_comes_from_there(tmp_path):
    url = str(tmp_path / "store" / "0001" / TRIAL_STATE)
    folder = TrialFolder(tmp_path / "a", state_url=url)
    folder.begin(None)
    write(folder.path / TRIAL_STATE, b"one")
    assert folder.new_state() is None
    assert RayStorage.read(url) == b"one"
    other = TrialFolder(tmp_path / "b", state_url=url)
    other.begin(None)
    assert (other.path / TRIAL_STATE).read_bytes() == b"one"
    assert other.end() == {}
    assert RayStorage.read(url) is None


def test_logs_come_in_pieces(tmp_path):
    folder = TrialFolder(tmp_path)
    assert folder.new_log() == b""
    append(tmp_path / "log.txt", b"one\n")
    assert folder.new_log() == b"one\n"
    append(tmp_path / "log.txt", b"x" * (1 << 20) + b"two\n")
    assert folder.new_log() + folder.new_log() == b"x" * (1 << 20) + b"two\n"
    assert folder.new_log() == b""


def test_files_that_stay_with_the_run(tmp_path):
    folder = TrialFolder(tmp_path / "t")
    folder.begin(b"state")
    write(folder.path / "best.pt", b"w")
    write(folder.path / "sub" / "a.csv", b"1")
    append(folder.path / "log.txt", b"printed")
    assert folder.end() == {"best.pt": b"w", "sub/a.csv": b"1"}
    stored = TrialFolder(tmp_path / "t", url=str(tmp_path / "store"))
    assert stored.end() == {"best.pt": None, "sub/a.csv": None}
    assert RayStorage.read(str(tmp_path / "store" / "sub" / "a.csv")) == b"1"
