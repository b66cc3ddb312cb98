from __future__ import annotations

import os
import random
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from hypertune.records import Report
from hypertune.training.trial_state import load_state, random_state, save_state, set_random_state

CPU = torch.device("cpu")


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_state_comes_back_with_everything_in_it(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    state = {
        "weights": {"a": torch.arange(3.0)},
        "reports": [Report(0, {"val/loss": 0.5}, {"dropout": 0.1})],
        "random": random_state(),
    }
    assert save_state(path, state)
    loaded = load_state(path, CPU)
    assert loaded is not None
    assert torch.equal(loaded["weights"]["a"], torch.arange(3.0))
    assert loaded["reports"] == state["reports"]
    assert list(tmp_path.iterdir()) == [path]


def test_all_global_generators_continue(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt", {"random": random_state()})
    expected = [draws() for _ in range(3)]
    loaded = load_state(tmp_path / "state.pt", CPU)
    assert loaded is not None
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    set_random_state(loaded["random"])
    assert [draws() for _ in range(3)] == expected


def test_a_disk_that_refuses_keeps_the_old_state_and_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    assert save_state(path, {"epochs": 1})
    (tmp_path / f"state.pt.{os.getpid()}.tmp").symlink_to("/dev/full")
    assert not save_state(path, {"epochs": 2, "weights": torch.zeros(100_000)})
    assert list(tmp_path.iterdir()) == [path]
    assert load_state(path, CPU) == {"epochs": 1}
    assert not save_state(tmp_path / "no" / "folder" / "state.pt", {})


@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "text", "cut", "pickle of another", "flipped"])
def test_what_cannot_be_read_is_no_state(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"epochs": 1, "weights": torch.arange(1000.0)})
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "pickle of another":
        torch.save([1, 2], path)
    elif damage != "missing":
        middle = len(content) // 2
        flipped = content[:40] + bytes(byte ^ 255 for byte in content[40:400]) + content[400:]
        path.write_bytes({"empty": b"", "text": b"epochs: 1\n", "cut": content[:middle], "flipped": flipped}[damage])
    assert load_state(path, CPU) is None


def test_a_class_that_is_gone_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gone_soon")
    module.Thing = type("Thing", (), {"__module__": "gone_soon"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gone_soon", module)
    save_state(tmp_path / "state.pt", {"thing": module.Thing()})
    monkeypatch.delitem(sys.modules, "gone_soon")
    assert load_state(tmp_path / "state.pt", CPU) is None
