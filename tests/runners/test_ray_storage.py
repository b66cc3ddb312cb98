from __future__ import annotations

import pytest

from hypertune.errors import StorageError
from hypertune.runners._ray_storage import RayStorage, pointer, read_pointer


@pytest.fixture(params=["path", "file", "memory"])
def storage(request, tmp_path):
    urls = {"path": str(tmp_path / "store"), "file": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path.name}"}
    return RayStorage(urls[request.param])


def test_files_come_back(storage):
    url = storage.within("run", "trials", "0003", "state.pt")
    assert storage.read(url) is None
    storage.write(url, b"one")
    storage.write(url, b"two" * 1000)
    assert storage.read(url) == b"two" * 1000
    storage.delete(storage.within("run"))
    assert storage.read(url) is None
    storage.delete(url)  # there is nothing; it says nothing


def test_a_probe_is_seen_until_it_is_deleted(storage):
    probe = storage.probe()
    assert storage.seen(probe) == ""
    storage.delete(probe)
    assert storage.seen(probe) == "what the driver wrote is not there"


def test_writing_leaves_nothing_beside_the_file(tmp_path):
    storage = RayStorage(str(tmp_path))
    storage.write(storage.within("a", "b.bin"), b"x")
    assert [file.name for file in tmp_path.rglob("*")] == ["a", "b.bin"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"runner\.storage: the storage cannot be written: \w+Error"):
        RayStorage(str(tmp_path / "file" / "store")).probe()


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "dask://x"])
def test_a_protocol_that_is_not_there(url):
    with pytest.raises(StorageError, match=r"runner\.storage: .*Fix: .*the package fsspec needs"):
        RayStorage(url).probe()
    assert RayStorage.seen(url)


def test_a_pointer_is_no_state():
    assert read_pointer(pointer("s3://bucket/run/state.pt")) == "s3://bucket/run/state.pt"
    assert read_pointer(b"PK\x03\x04") is None
    assert read_pointer(b"") is None
