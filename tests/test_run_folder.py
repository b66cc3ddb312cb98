from __future__ import annotations

import json
import multiprocessing
import os

import pytest

from hypertune.errors import ConfigError, StorageError
from hypertune.run_folder import RunFolder


def made(root, name, age=0):
    folder = RunFolder.create(root, name)
    folder.write_json(folder.identity, {"study": name})
    os.utime(folder.identity, (1e9 - age, 1e9 - age))
    return folder


def test_find_by_path_name_and_age(tmp_path):
    old, new = made(tmp_path, "old", age=10), made(tmp_path, "new")
    assert RunFolder.find("old", tmp_path).path == old.path
    assert RunFolder.find(str(old.path), tmp_path / "elsewhere").path == old.path
    assert RunFolder.find(None, tmp_path).path == new.path
    with pytest.raises(ConfigError, match=r"no such run; given 'ol'.*did you mean 'old'"):
        RunFolder.find("ol", tmp_path)
    with pytest.raises(ConfigError, match="there are no runs"):
        RunFolder.find("x", tmp_path / "elsewhere")


def test_a_name_is_taken_once(tmp_path):
    made(tmp_path, "a")
    with pytest.raises(StorageError, match=r"there is a run of that name.*hypertune resume a"):
        RunFolder.create(tmp_path, "a")


@pytest.mark.parametrize("root", ["/proc/none", "file"])
def test_a_folder_that_cannot_be_made(tmp_path, root):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the run folder cannot be written"):
        RunFolder.create(tmp_path / root, "a")


def test_writing_is_atomic(tmp_path, monkeypatch):
    folder = made(tmp_path, "a")
    folder.write_json(folder.result, {"a": 1})

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"No space left on device.*free disk space"):
            folder.write_json(folder.result, {"a": 2})
    assert json.loads(folder.result.read_text()) == {"a": 1}
    assert sorted(path.name for path in folder.path.iterdir()) == ["result.json", "run.json"]
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.write_json(folder.result, {"a": float("nan")})
    assert json.loads(folder.result.read_text()) == {"a": 1}


def test_a_damaged_file_is_one_error(tmp_path):
    folder = made(tmp_path, "a")
    folder.identity.write_text("{")
    with pytest.raises(StorageError, match=r"run\.json cannot be read"):
        folder.read_json(folder.identity)


def test_one_driver_at_a_time(tmp_path):
    folder = made(tmp_path, "a")
    refused = pytest.raises(StorageError, match="another process drives this run")
    with folder.lock(), refused, folder.lock():
        pass
    with folder.lock():
        pass


def _hold(path, ready):
    with RunFolder(path).lock():
        ready.send(True)
        os._exit(1)


def test_a_dead_drivers_lock_is_free(tmp_path):
    folder = made(tmp_path, "a")
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(folder.path, theirs))
    process.start()
    assert ours.recv()
    process.join()
    with folder.lock():
        pass
