from __future__ import annotations

import pytest
import torch

from hypertune.errors import ConfigError
from hypertune.training.devices import resolve_device


def test_auto_deals_the_gpus_out_to_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert [str(resolve_device("auto", worker)) for worker in range(5)] == [
        *("cuda:0", "cuda:1", "cuda:2", "cuda:0", "cuda:1")
    ]


@pytest.mark.parametrize(("mps", "expected"), [(True, "mps"), (False, "cpu")])
def test_auto_without_gpus(monkeypatch: pytest.MonkeyPatch, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device("auto", 1).type == expected


def test_named_device() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cuda:99", "meta"])
def test_a_device_that_cannot_compute_here_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="auto") as caught:
        resolve_device(name)
    assert caught.value.where == "trial.device"
