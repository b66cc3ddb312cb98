"""Every example runs, small."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from hypertune import run_search

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
# Enough to run every line, and what the metric must reach even so.
SMALL = {
    "demo": (["study.n_trials=2", "trial.epochs=1", "space=phnn", "family.width=8", "family.depth=1"], None),
    "mnist5k": (
        [
            "study.n_trials=1",
            "trial.epochs=1",
            "task.n_train=200",
            "task.n_val=100",
            "task.n_test=100",
            "family.width=4",
        ],
        None,
    ),
    "many_tasks": (
        ["study.n_trials=4", "sampler.candidates=4", "tasks.count=20", "tasks.hold_out=5", "trial.epochs=3"],
        lambda result: 0 < result.best.metrics["hold_out/certified"] < result.best.metrics["hold_out/mean"],
    ),
    "graph_kernel": (
        ["study.n_trials=6", "sampler.candidates=6"],
        lambda result: 0.1 < result.best.params["bandwidth"] < 2 and result.counts["pruned"] > 0,
    ),
    "mip": (
        ["study.n_trials=5", "trial.epochs=2", "family.width=8"],
        lambda result: result.hypernetwork["epochs"] == 6 and "lr" in result.hypernetwork["uncovered"],
    ),
    "ray_cluster": (["study.n_trials=2", "trial.epochs=1", "family.width=8", "family.depth=1"], None),
    "own_model": (["study.n_trials=5"], lambda result: result.best.metrics["test/accuracy"] > 0.9),
    "self_tuning": (
        ["study.n_trials=2", "trial.epochs=3", "family.width=8", "family.depth=1"],
        lambda result: set(result.best.tuned) >= {"dropout", "weight_decay", "shift"},
    ),
    "own_training": (["study.n_trials=8"], lambda result: result.best.metrics["test/accuracy"] > 0.9),
}


def test_none_is_forgotten():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(SMALL)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides, good = SMALL[name]
    result = run_search(EXAMPLES / f"{name}.yaml", [*overrides, "tracking=none", "runner=inline"], quiet=True)
    assert result.finished
    assert result.best is not None
    if good is not None:
        assert good(result), result.best


def test_the_self_tuning_loop_runs(monkeypatch):
    spec = importlib.util.spec_from_file_location("self_tuning_loop", EXAMPLES / "self_tuning_loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(epochs=12) > 0.9
