from __future__ import annotations

import json
import math
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml

from hypertune import resume_search, run_search
from hypertune.errors import ConfigError, FamilyError, HypertuneError, SpaceError, StorageError, TrackingError
from hypertune.records import Finished, Started, StudyClosed, StudyOpened
from hypertune.search import check_search, load_result, plan_search, trial_seed

HERE = Path(__file__).parent


def run(content, *overrides, **keywords):
    return run_search(content, overrides, quiet=True, **keywords)


def identical(one, other):
    keys = ("number", "state", "value", "params", "tuned", "metrics", "seed")
    return [[t[k] for k in keys] for t in one["trials"]] == [[t[k] for k in keys] for t in other["trials"]]


@pytest.mark.parametrize("runner", ["inline", "local"])
def test_an_objective(objective, runner):
    result = run(objective(runner=runner))
    assert result.finished
    assert result.best.value == min((t.params["x"] - 0.3) ** 2 for t in result.trials)
    assert result.counts["complete"] == 6


def test_run_folder_holds_everything(objective):
    result = run(objective(runner="inline", objective="user_code:with_details"))
    folder = result.folder
    assert folder == Path("runs/s").resolve()
    stored = json.loads((folder / "result.json").read_text())
    assert stored == json.loads(json.dumps(result.to_json()))
    best = stored["best"]
    assert best["tuned"] == {"x": 0.2}
    assert best["metrics"] == {"test/loss": best["params"]["x"] + 1}
    assert stored["versions"]["optuna"] == optuna.__version__
    assert set(best["cost"]) == {"epochs", "gradient_steps", "seconds"}
    assert yaml.safe_load((folder / "space.yaml").read_text())["x"]["high"] == 1
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["study"]["storage"] == f"sqlite:///{Path('runs/study.db').resolve()}"
    study = optuna.load_study(study_name="s", storage=config["study"]["storage"])
    assert len(study.trials) == 6
    assert study.best_value == result.best.value
    assert not list(folder.glob(".*"))


def test_a_family_on_the_users_own_data(family):
    result = run(family(runner="inline", study={"metric": "val/accuracy", "direction": "maximize"}))
    assert result.counts["complete"] == 3
    best = result.best
    assert best.value == max(t.value for t in result.trials) == best.metrics["val/accuracy"]
    assert {"train/loss", "val/loss", "test/loss", "test/accuracy"} <= set(best.metrics)
    assert (best.cost.epochs, best.cost.gradient_steps) == (2, 4)
    assert Path(best.checkpoint).exists()
    kept = [t.checkpoint for t in result.trials if Path(t.checkpoint).exists()]
    assert kept == [best.checkpoint]


@pytest.mark.parametrize(("keep", "n"), [("all", 3), ("none", 0)])
def test_which_checkpoints_stay(family, keep, n):
    result = run(family(runner="inline", trial={"keep_checkpoints": keep}))
    assert sum(Path(t.checkpoint).exists() for t in result.trials) == n


def test_same_seed_same_result_in_two_fresh_processes(family, tmp_path):
    contents = [
        family(sampler=sampler, study={"name": sampler, "n_trials": 4, "seed": 3}, pruner="median", runner="inline")
        for sampler in ("tpe", "random", "cmaes", "qmc", "gp", "stn", "mip")
    ]
    code = (
        "import json, sys; from hypertune import run_search;"
        "print(json.dumps([run_search(c, quiet=True).to_json() for c in json.loads(sys.argv[1])]))"
    )
    outcomes = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-c", code, json.dumps(contents)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        outcomes.append(json.loads(done.stdout.splitlines()[-1]))
    for one, other in zip(*outcomes, strict=True):
        assert identical(one, other)
        assert len({t["seed"] for t in one["trials"]}) == 4


def test_inline_and_one_worker_are_identical(family):
    inline = run(family(runner="inline", study={"name": "a"})).to_json()
    local = run(family(runner="local", study={"name": "b"})).to_json()
    assert identical(inline, local)


def test_a_foreign_sampler_and_pruner_by_reference(objective):
    content = objective(
        runner="inline",
        sampler={"name": "optuna.samplers:BruteForceSampler"},
        pruner={"name": "optuna.pruners:ThresholdPruner", "upper": 9.0},
        study={"metric": "value", "n_trials": 10},
        space={"x": {"choices": [0.1, 0.2, 0.3]}},
    )
    result = run(content)
    assert result.finished  # after every point of the grid, whatever n_trials says
    assert len(result.trials) == 3
    assert {t.params["x"] for t in result.trials} == {0.1, 0.2, 0.3}
    assert result.tags["sampler"] == "optuna.samplers:BruteForceSampler"


def test_an_objectives_value_is_the_metric_unless_the_config_names_one(objective):
    assert run(objective(runner="inline", pruner="median")).metric == "value"
    named = objective(runner="inline", pruner="median", study={"name": "n", "metric": "train/loss"})
    assert run({**named, "objective": "user_code:with_details"}).metric == "train/loss"
    wrong = objective(runner="inline", pruner="median", study={"name": "w", "metric": "val/los"})
    with pytest.raises(ConfigError, match=r"study\.metric: .*never reported it"):
        run(wrong)


def test_another_seed_another_search(objective):
    first = run(objective(runner="inline", study={"name": "a", "seed": 0}))
    other = run(objective(runner="inline", study={"name": "b", "seed": 1}))
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


def test_listeners_see_a_study_open_and_close(objective):
    events = []
    run(objective(runner="inline"), listeners=[events.append])
    counts = Counter(type(event) for event in events)
    assert type(events[0]) is StudyOpened
    assert type(events[-1]) is StudyClosed
    assert (counts[Started], counts[Finished]) == (6, 6)
    tags = events[0].info.tags
    assert {"study_id", "sampler", "pruner", "seed", "config_hash", "objective"} <= set(tags)


def test_the_git_commit_is_a_tag(objective, tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e@e"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    (tmp_path / "user_code.py").write_text((HERE / "user_code.py").read_text())
    git("init", "-q")
    git("add", "user_code.py")
    git("commit", "-qm", "x")
    head = git("rev-parse", "HEAD").stdout.strip()
    result = run(objective(runner="inline", source=str(tmp_path)))
    assert result.tags["git_commit"] in (head, f"{head}-dirty")


def test_the_fixed_part_of_a_family_leaves_the_space(family):
    content = family(family={"name": "phnn", "n": 2, "width": 8}, task="digits", space="phnn")
    plan = plan_search(content)
    assert "n" not in plan.space.names
    assert "width" not in plan.space.names
    assert "depth" in plan.space.names


def test_a_familys_own_space_is_the_default(family):
    plan = plan_search(family(family="mlp", task="wine", space=None))
    assert "width" in plan.space.names


def test_study_names_are_unique_by_default(objective):
    content = objective()
    del content["study"]["name"]
    assert plan_search(content).name.startswith("user_code.quadratic-20")


def test_a_timeout_ends_the_study(objective):
    result = run(objective(objective="user_code:slow", runner="inline", study={"n_trials": None, "timeout": 1.0}))
    assert result.finished
    assert result.counts["complete"] == 1


def test_pruned_trials_are_no_failure(objective):
    result = run(objective(objective="user_code:prunes", runner="inline"))
    assert (result.best, result.all_failed, result.counts["pruned"]) == (None, False, 6)


def test_all_failed(objective):
    result = run(objective(objective="user_code:raises", runner="inline"))
    assert result.all_failed
    assert result.trials[0].reason == "ValueError: this objective always fails"


def test_trial_seeds():
    seeds = [trial_seed(0, n) for n in range(1000)]
    assert len(set(seeds)) == 1000
    assert trial_seed(1, 0) not in seeds
    assert all(0 <= s < 2**31 for s in seeds)


def test_resume_of_a_finished_run_does_nothing_and_may_extend_it(objective):
    run(objective(runner="inline"))
    before = load_result("s")
    again = resume_search("s", quiet=True)
    assert [t.params for t in again.trials] == [t.params for t in before.trials]
    longer = resume_search("s", ["study.n_trials=9"], quiet=True)
    assert longer.counts["complete"] == 9
    assert [t.params for t in longer.trials[:6]] == [t.params for t in before.trials]
    assert len({t.params["x"] for t in longer.trials}) == 9
    assert yaml.safe_load(Path("runs/s/config.yaml").read_text())["study"]["n_trials"] == 9


def test_load_result_of_the_newest(objective):
    run(objective(runner="inline", study={"name": "older"}))
    os.utime("runs/older/run.json", (1, 1))
    run(objective(runner="inline", study={"name": "newer"}))
    assert load_result().name == "newer"
    assert load_result("older").best.value is not None
    assert load_result("runs/older").name == "older"


@pytest.mark.parametrize("override", ["study.seed=3", "space={a: 1}", "family=cnn", "study.direction=maximize"])
def test_what_a_trial_means_cannot_change_on_resume(objective, override):
    run(objective(runner="inline"))
    with pytest.raises(ConfigError, match=r"-o .*: cannot change in a run that has begun"):
        resume_search("s", [override])


BAD_BEFORE_ANY_TRIAL = [
    ({"study": {"n_trails": 3}}, ConfigError, "did you mean 'n_trials'"),
    ({"family": "phn"}, ConfigError, r"family: unknown family 'phn'.*did you mean 'phnn'"),
    ({"task": "digit"}, ConfigError, r"task: unknown task 'digit'.*did you mean 'digits'"),
    ({"sampler": "tpee"}, ConfigError, "did you mean 'tpe'"),
    ({"pruner": "medain"}, ConfigError, "did you mean 'median'"),
    ({"runner": "locale"}, ConfigError, "did you mean 'local'"),
    ({"space": "nowhere.yaml"}, SpaceError, "no shipped space and no file of that name"),
    ({"space": {"lr": {"type": "float", "low": 2, "high": 1}}}, SpaceError, "low is above high"),
    ({"space": {"lr": {"type": "float", "low": 0, "high": 1, "log": True}}}, SpaceError, "positive low"),
    ({"space": {"lr": {"choices": []}}}, SpaceError, "choices are empty"),
    ({"family": "user_code:build_number"}, FamilyError, r"builds no module; given 3"),
    ({"family": "user_code:build_raises"}, FamilyError, "does not build: RuntimeError: cannot build that"),
    ({"family": "user_code:build_picky"}, FamilyError, "hidden must be at most 12"),
    ({"family": "user_code:build_wrong_size"}, FamilyError, "user_code:build_wrong_size"),
    ({"family": "user_code:nothing"}, ConfigError, r"'user_code' has no 'nothing'"),
    ({"family": "no_such_module:build"}, ConfigError, "is not found"),
    ({"study": {"metric": "val/acuracy"}}, ConfigError, r"study\.metric.*did you mean 'val/accuracy'"),
    ({"task": {"name": "user_code:task", "m": 3}}, ConfigError, r"task\.m: .*no such option"),
    ({"space": {"hiden": {"type": "int", "low": 4, "high": 9}}}, SpaceError, r"space\.hiden: nothing reads it"),
    ({"family": "phnn", "task": "digits", "space": {"widht": 8}}, SpaceError, r"space\.widht: nothing reads it.*did you mean 'width'"),
    ({"family": {"name": "phnn", "widht": 8}, "task": "digits", "space": "phnn"}, ConfigError, r"family\.widht: nothing reads it"),
    ({"family": {"name": "user_code:build", "hidden": 8}}, ConfigError, r"family\.hidden: fixed by the family's options and searched"),
    ({"family": "cnn", "task": "wine", "space": "cnn"}, HypertuneError, "cnn"),
    ({"trial": {"timeout": 3.0}, "runner": "inline"}, ConfigError, r"trial\.timeout: the inline runner"),
    ({"tracking": {"uri": "nonsense://x"}}, TrackingError, r"tracking\.uri"),
    ({"tracking": {"uri": "http://127.0.0.1:1"}}, TrackingError, r"tracking\.uri.*http://127\.0\.0\.1:1"),
    ({"study": {"storage": "nonsense"}}, StorageError, r"study\.storage: not a storage URL"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "kind", "message"), BAD_BEFORE_ANY_TRIAL)
def test_bad_input_is_one_error_and_leaves_nothing_behind(family, changes, kind, message):
    content = family(**{"runner": "inline", **changes})
    with pytest.raises(kind, match=message) as caught:
        run(content)
    assert "\n" not in str(caught.value)
    assert not Path("runs/s").exists()
    if Path("runs/study.db").exists():
        assert optuna.get_all_study_names("sqlite:///runs/study.db") == []
    # The repaired config runs under the same name.
    assert run(family(runner="inline")).counts["complete"] == 3


def test_indivisible_width_is_said_before_any_trial(family):
    content = family(
        family="phnn",
        task={"name": "digits", "n_train": 60},
        space={"n": {"choices": [1, 4]}, "width": {"choices": [8, 10]}},
    )
    with pytest.raises(FamilyError, match=r"10.*4|4.*10"):
        check_search(content)


def test_a_name_in_use_is_refused_and_the_run_stays(objective):
    first = run(objective(runner="inline"))
    with pytest.raises(StorageError, match=r"there is a run of that name; given 's'.*hypertune resume s"):
        run(objective(runner="inline"))
    other = {"x": {"type": "float", "low": 0, "high": 2}}
    with pytest.raises(StorageError, match=r"has another search space \(x: .*'high': 2"):
        run(objective(runner="inline", space=other))
    assert [t.params for t in load_result("s").trials] == [t.params for t in first.trials]


def test_a_study_of_that_name_in_the_storage_is_refused(objective):
    Path("runs").mkdir()
    optuna.create_study(study_name="s", storage="sqlite:///runs/study.db").ask()
    with pytest.raises(StorageError, match="has a study of that name already"):
        run(objective(runner="inline"))
    assert not Path("runs/s").exists()
    assert len(optuna.load_study(study_name="s", storage="sqlite:///runs/study.db").trials) == 1


def test_a_locked_storage_is_one_error(objective):
    Path("runs").mkdir()
    holder = sqlite3.connect("runs/study.db")
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StorageError, match=r"study\.storage: .*locked"):
            run(objective(runner="inline"))
    finally:
        holder.close()
    assert not Path("runs/s").exists()


def test_a_folder_that_cannot_be_written_is_one_error(objective):
    with pytest.raises(StorageError, match=r"study\.folder: the run folder cannot be written: .*; given '/proc/"):
        run(objective(runner="inline", study={"folder": "/proc/none", "storage": "sqlite:///study.db"}))


def test_a_full_disk_in_mid_search_is_one_error_and_resumable(objective, monkeypatch):
    from hypertune.tracking import journal

    real, calls = journal.Journal.append, []

    def append(self, event):
        calls.append(event)
        if len(calls) == 12:
            raise StorageError("the event journal cannot be written: No space left on device", where="storage")
        real(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "append", append)
        with pytest.raises(StorageError, match="No space left"):
            run(objective(runner="inline"))
    result = resume_search("s", quiet=True)
    assert result.counts["complete"] == 6


def test_two_drivers_of_one_run_are_refused(objective):
    from hypertune.run_folder import RunFolder

    run(objective(runner="inline"))
    with RunFolder.find("s", Path("runs")).lock(), pytest.raises(StorageError, match="another process drives this run"):
        resume_search("s")


def test_a_deleted_storage_is_one_error(objective):
    run(objective(runner="inline"))
    for file in Path("runs").glob("study.db*"):
        file.unlink()
    with pytest.raises(StorageError, match="is not there"):
        resume_search("s")
    with pytest.raises(StorageError, match="is not there"):
        load_result("s")


def test_a_study_deleted_from_the_storage_is_one_error(objective):
    run(objective(runner="inline"))
    optuna.delete_study(study_name="s", storage="sqlite:///runs/study.db")
    with pytest.raises(StorageError, match=r"study\.storage"):
        resume_search("s")
    with pytest.raises(StorageError, match=r"study\.storage"):
        load_result("s")


def test_result_json_is_strict_json(objective):
    result = run(objective(runner="inline", objective="user_code:with_details"))
    text = (result.folder / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert math.isfinite(result.best.value)


def test_the_driver_does_not_import_torch(objective):
    code = (
        "import sys\n"
        "if __name__ == '__main__':\n"
        "    from hypertune import run_search\n"
        f"    run_search({objective(study={'n_trials': 2})!r}, quiet=True)\n"
        "    print([m for m in ('torch', 'mlflow', 'ray', 'sklearn') if m in sys.modules])\n"
    )
    Path("driver.py").write_text(code)
    done = subprocess.run([sys.executable, "driver.py"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # SQLAlchemy 2.1 about MLflow
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # mlflow.types.responses
@pytest.mark.parametrize("runner", ["inline", "local"])
def test_an_objective_that_cannot_run_leaves_no_trace_in_mlflow(family, runner):
    from mlflow import MlflowClient

    content = family(family="user_code:build_number", runner=runner)
    content["tracking"] = {"experiment": "e"}
    with pytest.raises(FamilyError, match="builds no module"):
        run(content)
    assert not Path("runs/s").exists()
    client = MlflowClient("sqlite:///runs/mlflow.db")
    experiment = client.get_experiment_by_name("e")
    assert experiment is None or client.search_runs([experiment.experiment_id]) == []
