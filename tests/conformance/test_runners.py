"""One study on every runner: the same events, the same attributes, the same result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from hypertune import registry, run_search
from hypertune.records import Failed, Finished, Pruned, Reported, Started, StudyClosed, StudyOpened

HERE = Path(__file__).parent
RUNNERS = {
    "inline": "inline",
    "local": {"name": "local", "workers": 1},
    "ray": {"name": "ray", "address": "auto", "max_concurrent": 1, "resources_per_trial": {"cpu": 0.5}},
}
OBJECTIVE = {
    "study": {"name": "s", "n_trials": 6},
    "objective": "runner_objective:train",
    "space": {"x": {"type": "float", "low": 0, "high": 1}, "k": {"type": "categorical", "choices": ["a", "b"]}},
    "pruner": {"name": "median", "n_startup_trials": 1, "n_warmup_steps": 1},
    "trial": {"keep_checkpoints": "all"},
    "tracking": "none",
    "source": str(HERE),
}
FAMILY = {
    "study": {"name": "s", "n_trials": 2},
    "family": {"name": "mlp", "width": 8, "depth": 1},
    "task": "wine",
    "space": {
        "lr": {"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
        "dropout": {"type": "float", "low": 0.0, "high": 0.8},
    },
    "sampler": {"name": "mip", "n_predictions": 64, "hypernetwork": {"epochs": 2}},
    # The hypernetwork's file is in the run folder, which is not on every machine.
    "trial": {"epochs": 2, "device": "cpu", "state_seconds": 0, "init_from_hypernet": True},
    "tracking": "none",
}


@pytest.fixture(scope="module")
def connected(ray_cluster):
    import ray

    ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(params=[name for name in RUNNERS if name != "inline"])
def other(request):
    if request.param == "ray":
        request.getfixturevalue("connected")
    return request.param


def test_no_runner_is_forgotten():
    assert set(registry.names("runner")) == set(RUNNERS)


def study(content, runner, folder, monkeypatch):
    """Run a study; return what must not depend on who ran it."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    events = []
    result = run_search({**content, "runner": RUNNERS[runner]}, quiet=True, listeners=[events.append])
    loaded = optuna.load_study(study_name="s", storage=f"sqlite:///{folder}/runs/study.db")
    trials = [(t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs) for t in loaded.trials]
    files = {path.relative_to(folder / "runs" / "s") for path in (folder / "runs" / "s").rglob("*.*")}
    told = {
        "events": [plain(event) for event in events],
        "attributes": plain(trials),
        "result": plain(result.to_json()),
        "files": {str(path) for path in files if path.name not in {"log.txt", "worker-0.log"}},
    }
    return eval(repr(told).replace(str(folder), "FOLDER"), {"nan": float("nan"), "inf": float("inf")}), events


_DROPPED = {"seconds", "hypernetwork_seconds", "time_start", "time_end", "study_id", "git_commit"}


def plain(thing):
    """Drop time, worker, duration and the frames of a traceback."""
    if isinstance(thing, (Started, Reported, Finished, Pruned, Failed, StudyOpened, StudyClosed)):
        content = {name: plain(getattr(thing, name)) for name in thing.__dataclass_fields__}
        content["traceback"] = content.get("traceback", "").rstrip().rpartition("\n")[2]
        return {"event": type(thing).__name__, **{k: v for k, v in content.items() if k not in {"time", "worker"}}}
    if dataclasses.is_dataclass(thing):
        thing = {name: getattr(thing, name) for name in thing.__dataclass_fields__}
    if isinstance(thing, dict):
        return {k: plain(v) for k, v in thing.items() if k not in _DROPPED}
    if isinstance(thing, (list, tuple)):
        return [plain(each) for each in thing]
    return str(thing) if isinstance(thing, Path) else thing


@pytest.mark.ray
def test_the_same_study_on_every_runner(other, tmp_path, monkeypatch):
    expected, events = study(OBJECTIVE, "inline", tmp_path / "inline", monkeypatch)
    kinds = [type(event).__name__ for event in events if not isinstance(event, (Started, Reported))]
    assert kinds == ["StudyOpened", "Finished", "Finished", "Failed", "Failed", "Pruned", "Finished", "StudyClosed"]
    got, _ = study(OBJECTIVE, other, tmp_path / other, monkeypatch)
    for part in expected:
        assert got[part] == expected[part], part
    for number in range(6):
        log = tmp_path / other / "runs" / "s" / "trials" / f"{number:04d}" / "log.txt"
        assert log.read_text().startswith(f"trial {number}\n")


@pytest.mark.ray
def test_the_same_training_on_every_runner(other, tmp_path, monkeypatch):
    expected, _ = study(FAMILY, "inline", tmp_path / "inline", monkeypatch)
    got, _ = study(FAMILY, other, tmp_path / other, monkeypatch)
    assert any(name.endswith("best.pt") for name in got["files"])
    for part in expected:
        assert got[part] == expected[part], part
