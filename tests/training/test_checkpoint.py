from __future__ import annotations

import copy
import math
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError, StorageError, TrialError
from hypertune.families.contract import Family
from hypertune.records import TaskSpec
from hypertune.training.checkpoint import copy_weights, load_model, save_checkpoint

SPEC = TaskSpec("t", "regression", (3,), 2)


def build(params: Any, task: TaskSpec) -> nn.Module:
    return nn.Sequential(nn.Linear(3, params["width"]), nn.BatchNorm1d(params["width"]), nn.Linear(params["width"], 2))


FAMILY = Family("small", build)
PARAMS = {"width": 5, "lr": 1e-3, "optimizer": "adam", "flag": True, "none": None}


def save(path: Path, model: nn.Module) -> None:
    save_checkpoint(path, model, params=PARAMS, epoch=3, metrics={"val/loss": 0.5, "val/auc": math.nan})


def test_round_trip_gives_the_same_outputs_in_evaluation_mode(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = build(PARAMS, SPEC), torch.randn(8, 3)
    model(x)  # moves the running statistics
    path = tmp_path / "new" / "folder" / "best.pt"
    save(path, model)
    loaded = load_model(path, FAMILY, SPEC)
    assert not loaded.training
    assert torch.equal(loaded(x), model.eval()(x))
    assert list(path.parent.iterdir()) == [path]
    content = torch.load(path, weights_only=True)
    assert content["params"] == PARAMS
    assert (content["epoch"], content["metrics"]["val/loss"]) == (3, 0.5)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old, new = build(PARAMS, SPEC), build(PARAMS, SPEC)
    path = tmp_path / "best.pt"
    save(path, old)
    # The temporary file lands on a full device.
    (tmp_path / f"best.pt.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(TrialError, match="cannot be written") as caught:
        save(path, new)
    assert caught.value.where == "trial.checkpoint"
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    torch.testing.assert_close(load_model(path, FAMILY, SPEC).state_dict(), old.state_dict())


def test_the_old_file_is_never_written_into(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path, kept = tmp_path / "best.pt", tmp_path / "kept.pt"
    save(path, build(PARAMS, SPEC))
    kept.hardlink_to(path)  # what a reader that opened the old file goes on reading
    before = kept.read_bytes()
    save(path, build(PARAMS, SPEC))
    assert kept.read_bytes() == before != path.read_bytes()


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "trial").write_text("")
    with pytest.raises(TrialError, match="cannot be written"):
        save(tmp_path / "trial" / "best.pt", build(PARAMS, SPEC))


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing") as caught:
        load_model(tmp_path / "best.pt", FAMILY, SPEC)
    assert "keep_checkpoints" in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "folder", "other", "code"])
def test_unreadable(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "best.pt"
    save(path, build(PARAMS, SPEC))
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "other":
        torch.save({"weights": torch.zeros(1)}, path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"hello",
                "cut": whole[: len(whole) // 2],
                "code": pickle.dumps(os.getcwd, protocol=2),
            }[damage]
        )
    with pytest.raises(StorageError, match="not a readable checkpoint") as caught:
        load_model(path, FAMILY, SPEC)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save(path, build(PARAMS, SPEC))
    changed = Family("small", lambda params, task: build({"width": 6}, task))
    with pytest.raises(FamilyError, match="does not fit"):
        load_model(path, changed, SPEC)


def test_a_copy_does_not_follow_the_model_and_loads_back() -> None:
    class Odd(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.note = [1]

        def get_extra_state(self) -> Any:
            return self.note

        def set_extra_state(self, state: Any) -> None:
            self.note = state

    torch.manual_seed(0)
    model = nn.Sequential(Odd(), nn.BatchNorm1d(2))
    weights = copy_weights(model.state_dict())
    before = copy.deepcopy(model.state_dict())
    model(torch.randn(4, 2))
    with torch.no_grad():
        model[0].weight += 1.0  # type: ignore[operator]
    model[0].note.append(2)  # type: ignore[operator,union-attr]
    assert not torch.equal(model.state_dict()["0.weight"], before["0.weight"])
    model.load_state_dict(weights)
    torch.testing.assert_close(model.state_dict(), before)
    assert model[0].note == [1]
