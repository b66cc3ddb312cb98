"""A whole search whose task needs a password that shows up in an error: it is nowhere but in the private files."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import pytest

import hypertune._secrets as secrets
from hypertune import run_search

MODULE = """
import torch

def task(password, n=60):
    print("connecting")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    third = n // 3
    return {name: (x[k * third:(k + 1) * third], y[k * third:(k + 1) * third]) for k, name in
            enumerate(("train", "val", "test"))}

def build(params, task):
    if params["hidden"] == 5:
        raise ValueError("no login at postgresql://me:sw0rdfish@host/db with correct-horse")
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, task.output_size))
"""
PRIVATE = {"config.yaml", "space.yaml", "run.json", "events.jsonl"}


def test_a_password_stays_in_the_private_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(secrets, "_remembered", {})
    monkeypatch.setattr(secrets, "_pattern", None)
    (tmp_path / "needs_a_password.py").write_text(MODULE)
    content = {
        "study": {"name": "s", "n_trials": 2, "folder": str(tmp_path / "runs")},
        "family": "needs_a_password:build",
        "task": {"name": "needs_a_password:task", "password": "correct-horse"},
        "space": {"hidden": {"type": "int", "low": 5, "high": 6}},
        "trial": {"epochs": 1},
        "sampler": "random",
        "runner": "inline",
        "tracking": {"log_model": False},
        "source": str(tmp_path),
    }
    stream = io.StringIO()
    # The preflight meets the failing point before any trial: the error is the user's.
    with pytest.raises(Exception, match="no login at") as caught:
        run_search(content, stream=stream)
    for text in (str(caught.value), stream.getvalue(), *capsys.readouterr()):
        assert "correct-horse" not in text
        assert "sw0rdfish" not in text

    (tmp_path / "needs_a_password.py").write_text(MODULE.replace("== 5", "== 5 and torch.is_grad_enabled() is None"))
    monkeypatch.delitem(sys.modules, "needs_a_password")
    run_search(content, stream=stream)
    found = [
        file for file in (tmp_path / "runs").rglob("*") if file.is_file() and b"correct-horse" in file.read_bytes()
    ]
    assert {file.name for file in found} == {"config.yaml"}, found
    for name in PRIVATE:
        assert stat.S_IMODE((tmp_path / "runs" / "s" / name).stat().st_mode) == 0o600
    assert "correct-horse" not in stream.getvalue()
