from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hypertune import run_search
from hypertune.bounds.betting import betting_lower
from hypertune.cli import app
from hypertune.config import Config
from hypertune.errors import ConfigError, TaskError
from hypertune.many_tasks import ManyTasksObjective, task_seed
from hypertune.records import Assignment, Reported
from hypertune.search import plan_search
from hypertune.space import SearchSpace
from hypertune.task_source import open_tasks
from hypertune.training import fit as fit_module
from hypertune.training.trial import Trial, TrialPruned

HERE = Path(__file__).parent
BASE = {
    "study": {"name": "s", "n_trials": 4, "direction": "maximize", "metric": "val/accuracy"},
    "family": "many_tasks_user_code:build",
    "tasks": {"name": "many_tasks_user_code:stream", "count": 9, "hold_out": 3},
    "space": {
        "hidden": {"type": "int", "low": 2, "high": 16},
        "lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    },
    "sampler": {"name": "data_driven", "candidates": 4, "refinements": 0},
    "pruner": "racing",
    "trial": {"epochs": 2, "batch_size": 32, "device": "cpu"},
    "runner": "inline",
    "tracking": "none",
    "source": str(HERE),
}


def config(**changes):
    return {**json.loads(json.dumps(BASE)), **changes}


def search(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    events = []
    result = run_search(content, quiet=True, listeners=[events.append])
    reports = {}
    for event in events:
        if isinstance(event, Reported):
            reports.setdefault(event.number, []).append((event.report.step, event.report.metrics["val/accuracy"]))
    return result, reports, json.loads((result.folder / "result.json").read_text())


def test_a_trial_is_a_candidate_and_a_step_is_a_task(tmp_path, monkeypatch):
    result, reports, content = search(tmp_path, monkeypatch, config())
    assert result.finished
    for trial in result.trials:
        steps, values = zip(*reports[trial.number], strict=True)
        assert steps == tuple(range(6))  # three of nine are held out
        assert trial.value == pytest.approx(np.mean(values))
        assert trial.metrics["tasks/evaluated"] == 6
        assert trial.metrics["hold_out/tasks"] == 3
        assert trial.metrics["hold_out/certified"] <= trial.metrics["hold_out/mean"]
    best = [value for _, value in reports[result.best.number]]
    assert content["certificate"]["value"] == pytest.approx(float(betting_lower(best, 0.05 / 4)), abs=1e-9)
    assert content["certificate"]["candidates"] == 4
    assert not list(result.folder.glob("trials/*/tasks/*"))  # no pile of weights


def test_workers_start_no_trial_beyond_the_last_candidate(tmp_path, monkeypatch):
    content = config(runner={"name": "local", "workers": 2})
    content["study"]["n_trials"] = 30
    content["trial"]["epochs"] = 1
    result, _, _ = search(tmp_path, monkeypatch, content)
    assert result.finished
    assert len(result.trials) == 4


def test_the_same_seed_gives_the_same_study(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, first, _ = search(tmp_path / "a", monkeypatch, config())
    _, second, _ = search(tmp_path / "b", monkeypatch, config())
    assert first == second
    assert task_seed(0, 1) != task_seed(0, 2) != task_seed(1, 2)


def test_a_failed_task_is_recorded_and_left_out_for_all(tmp_path, monkeypatch):
    content = config(family="many_tasks_user_code:fussy", tasks="many_tasks_user_code:with_a_broken_one")
    result, reports, found = search(tmp_path, monkeypatch, content)
    assert result.finished
    for trial in result.trials:
        values = dict(reports[trial.number])
        assert math.isnan(values[4])
        assert trial.value == pytest.approx(np.mean([v for step, v in values.items() if step != 4]))
        assert trial.metrics["tasks/failed"] == 1
    assert found["failed_tasks"] == {"4": [0, 1, 2, 3]}
    assert found["certificate"]["n"] == 11


def test_a_repeated_trial_goes_on_after_the_tasks_that_were_done(tmp_path, monkeypatch):
    content = Config.from_mapping(config(trial={**BASE["trial"], "state_seconds": 0}))
    objective = ManyTasksObjective(content, SearchSpace.from_mapping(BASE["space"]))()
    trained, original = [], fit_module.fit
    last = None

    def fit(trial, *arguments, **options):
        trained.append(int(trial.folder.name))
        if trained[-1] == last:
            raise KeyboardInterrupt
        return original(trial, *arguments, **options)

    monkeypatch.setattr(fit_module, "fit", fit)

    def run(name, params, prune=lambda step: False):
        reports = []

        def on_report(report):
            reports.append((report.step, report.metrics["val/accuracy"]))
            return prune(report.step)

        assignment = Assignment(0, params, 1, str(tmp_path / name))
        try:
            return objective(Trial(assignment, on_report)), reports
        finally:
            trained.append("end")

    params = {"hidden": 4, "lr": 0.01}
    whole, reports = run("whole", params)
    assert trained == [*range(9), "end"]
    for last in (4, 7):  # while racing, and among those held out
        trained.clear()
        with pytest.raises(KeyboardInterrupt):
            run(f"killed-{last}", params)
        (tmp_path / f"again-{last}").mkdir()
        (tmp_path / f"killed-{last}" / "state.pt").rename(tmp_path / f"again-{last}" / "state.pt")
        stop, last = last, None
        again, repeated = run(f"again-{stop}", params)
        assert trained == [*range(stop), stop, "end", *range(stop, 9), "end"]
        assert repeated == reports
        assert again.metrics == whole.metrics
        assert (again.cost.epochs, again.cost.gradient_steps) == (whole.cost.epochs, whole.cost.gradient_steps)
        assert not (tmp_path / f"again-{stop}" / "state.pt").exists()
    with pytest.raises(TrialPruned):
        run("pruned", params, prune=lambda step: step == 2)
    assert not (tmp_path / "pruned" / "state.pt").exists()
    # A state of other parameters, or a damaged one, is worth nothing.
    last = 3
    with pytest.raises(KeyboardInterrupt):
        run("killed", params)
    last = None
    trained.clear()
    run("killed", {**params, "hidden": 5})
    (tmp_path / "killed" / "state.pt").write_bytes(b"broken")
    run("killed", params)
    assert trained == [*range(9), "end"] * 2


def test_every_form_of_tasks(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(3):
        x, y = rng.standard_normal((40, 2)), rng.integers(0, 2, 40)
        np.savez(tmp_path / f"t{index}.npz", x=x.astype(np.float32), y=y)
    rows = [
        f"{a:.3f},{'ab'[b]},{c:.3f}"
        for a, b, c in zip(rng.random(40), rng.integers(0, 2, 40), rng.random(40), strict=True)
    ]
    (tmp_path / "u.csv").write_text("\n".join(["left,kind,right", *rows]))
    (tmp_path / "notes.txt").write_text("no task")

    def opened(tasks, seed=0):
        return open_tasks(Config.from_mapping(config(tasks=tasks)).tasks, HERE, seed=seed)

    folder = opened({"name": str(tmp_path), "target": "kind"})
    assert folder.total == 4
    shapes = {folder.get(index).spec.input_shape for index in range(4)}
    assert shapes == {(2,)}
    assert folder.get(4) is None
    shipped = opened([{"name": "breast_cancer"}, "wine"])
    assert {shipped.get(index).spec.output_size for index in range(2)} == {2, 3}
    assert opened("many_tasks_user_code:EVERY").total == 12
    assert opened({"name": "many_tasks_user_code:listed", "count": 5}).total == 5
    short = opened("many_tasks_user_code:short")
    assert short.total is None
    assert short.get(4) is not None
    assert short.get(5) is None
    assert short.total == 5


def test_the_order_of_a_list_depends_on_the_seed_and_that_of_a_stream_does_not():
    def firsts(name, seed):
        source = open_tasks(
            Config.from_mapping(config(tasks={"name": f"many_tasks_user_code:{name}", "count": 5})).tasks,
            HERE,
            seed=seed,
        )
        return [float(source.get(index).train.x[0, 0]) for index in range(5)]

    assert firsts("listed", 0) == firsts("listed", 0)
    assert firsts("listed", 0) != firsts("listed", 1)
    assert firsts("short", 0) == firsts("short", 1)
    assert firsts("stream", 0) != firsts("stream", 1)  # the function takes the seed itself


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["wine"]}, "fewer than 2"),
        ({"tasks": {"name": "many_tasks_user_code:stream", "count": 5, "hold_out": 4}}, "fewer than 2"),
        ({"tasks": {"name": "many_tasks_user_code:stream", "count": 5, "hold_out": 1}}, "held-out"),
        ({"tasks": {"name": "many_tasks_user_code:stream", "items": ["wine", "wine"]}}, "or as a list"),
        ({"tasks": {"name": "many_tasks_user_code:stream", "count": 1}}, "tasks.count"),
        ({"task": "wine"}, "both task and tasks"),
        ({"trial": {"self_tuning": True}}, "does not tune itself"),
        ({"tasks": None, "task": "wine"}, "racing compares candidates task by task"),
        ({"sampler": {"name": "data_driven", "delta": 0}}, "delta"),
        ({"sampler": {"name": "data_driven", "epsilon": 1.5}}, "epsilon"),
        ({"sampler": {"name": "data_driven", "candidate": 4}}, "candidates"),
    ],
)
def test_configs_that_cannot_work(changes, message):
    with pytest.raises(ConfigError, match=message):
        plan_search(config(**changes))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("many_tasks_user_code:WRONG", "not a task"),
        ("many_tasks_user_code:NUMBER", "yields no tasks"),
        ("nowhere", "no folder"),
        ({"name": "many_tasks_user_code:stream", "row": 3}, "did you mean 'rows'"),
        ({"name": "many_tasks_user_code:listed", "count": 50}, "more tasks than there are"),
        ({"name": "many_tasks_user_code:short", "hold_out": 2}, "give tasks.count"),
        ("many_tasks_user_code:breaks", "the disk is gone"),
    ],
)
def test_tasks_that_cannot_be_had(tasks, message):
    def take_three():
        source = open_tasks(Config.from_mapping(config(tasks=tasks)).tasks, HERE, seed=0)
        return [source.get(index) for index in range(3)]

    with pytest.raises((ConfigError, TaskError), match=f"(?i){message}"):
        take_three()


def test_a_metric_without_limits_is_refused(tmp_path, monkeypatch):
    content = config(study={"name": "s", "n_trials": 4, "metric": "val/loss"})
    content["space"]["lr"] = {"type": "float", "low": 50.0, "high": 100.0}
    with pytest.raises(TaskError, match=r"(?s)outside \[0, 1\].*low and high"):
        search(tmp_path, monkeypatch, content)
    content["study"]["name"] = "t"
    content["sampler"].update(low=0.0, high=3.0)
    result, _, _ = search(tmp_path, monkeypatch, content)
    assert result.finished


def test_the_bound_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(json.dumps({key: value for key, value in config().items() if key != "source"}))
    (tmp_path / "many_tasks_user_code.py").write_text((HERE / "many_tasks_user_code.py").read_text())
    shown = CliRunner().invoke(app, ["bound", str(file), "--eps", "0.1"])
    assert shown.exit_code == 0, shown.output
    for text in (
        "tasks configured: 9 (3 held out)",
        "candidates: 4",
        "hold-out",
        "vacuous",
        "m = 1000",
        "no statement",
    ):
        assert text in shown.output
    content = json.loads(CliRunner().invoke(app, ["bound", str(file), "--json"]).output)
    assert content["configured"] == 9
    assert {row["kind"] for row in content["bounds"]} >= {"hold-out", "betting", "hoeffding", "empirical bernstein"}
    wrong = CliRunner().invoke(app, ["bound", str(file), "--delta", "0"])
    assert wrong.exit_code == 2
    assert "delta" in wrong.output
