"""A hypernetwork through a whole search: trained once, kept, loaded on resume, charged, and ranked with."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from typer.testing import CliRunner

from hypertune import hypernetwork_prior, resume_search, run_search
from hypertune.cli import app
from hypertune.errors import ConfigError, HypertuneError, TrialError
from hypertune.records import HYPERNETWORK, PREDICTED
from hypertune.search import load_result, plan_search, rank_search
from hypertune.training import mip as training_mip

SPACE = {
    "lr": {"type": "float", "low": 0.003, "high": 0.1, "log": True},
    "dropout": {"type": "float", "low": 0.0, "high": 0.9, "self_tune": True},
    "label_smoothing": {"type": "float", "low": 0.0, "high": 0.5},
}


def config(tmp_path: Path, **sections: Any) -> dict[str, Any]:
    return {
        "study": {"name": "s", "n_trials": 4, "folder": str(tmp_path / "runs"), "seed": 1},
        "family": {"name": "mlp", "width": 8, "depth": 1},
        "task": {"name": "digits", "n_train": 200, "n_val": 100, "n_test": 100},
        "space": SPACE,
        "sampler": {"name": "mip", "n_predictions": 64, "hypernetwork": {"epochs": 2}},
        "trial": {"epochs": 1, "batch_size": 50},
        "runner": "inline",
        "tracking": "none",
        **sections,
    }


@pytest.fixture
def trainings(monkeypatch):
    """Counts how often a hypernetwork is trained."""
    made: list[Any] = []
    original = training_mip.train_hypernetwork

    def counted(*args: Any, **options: Any) -> Any:
        made.append(options)
        return original(*args, **options)

    monkeypatch.setattr(training_mip, "train_hypernetwork", counted)
    return made


def stored(tmp_path: Path) -> optuna.Study:
    return optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path / 'runs' / 'study.db'}")


def test_a_search_trains_it_once_charges_it_and_resumes_with_it(tmp_path, trainings):
    result = run_search(config(tmp_path), quiet=True)
    assert result.finished
    folder = tmp_path / "runs" / "s"
    assert (folder / "hypernetwork.pt").exists()
    content = json.loads((folder / "result.json").read_text())
    assert content["cost"]["epochs"] == 4
    assert content["cost"]["hypernetwork_epochs"] == 2
    assert content["cost"]["hypernetwork_seconds"] > 0
    facts = stored(tmp_path).user_attrs[HYPERNETWORK]
    assert facts == content["hypernetwork"] == load_result("s", root=tmp_path / "runs").hypernetwork
    assert facts["names"] == ["dropout", "label_smoothing"]
    assert set(facts["uncovered"]) == {"lr"}
    assert -1 <= facts["spearman"] <= 1
    resumed = resume_search("s", ["study.n_trials=6"], root=tmp_path / "runs", quiet=True)
    assert len(resumed.trials) == 6
    assert len(trainings) == 1
    predicted = [trial.user_attrs[PREDICTED] for trial in stored(tmp_path).trials]
    assert len(predicted) == 6
    assert all(0 < loss < 20 for loss in predicted)


def test_a_resumed_search_proposes_what_the_uninterrupted_one_does(tmp_path):
    whole = run_search(config(tmp_path / "a", study={**config(tmp_path / "a")["study"], "n_trials": 6}), quiet=True)
    run_search(config(tmp_path / "b"), quiet=True)
    halves = resume_search("s", ["study.n_trials=6"], root=tmp_path / "b" / "runs", quiet=True)
    assert [trial.params for trial in halves.trials] == [trial.params for trial in whole.trials]


def test_an_interrupted_training_is_continued_on_resume(tmp_path, monkeypatch, trainings):
    spoken: list[str] = []

    def interrupted(*args: Any, **options: Any) -> Any:
        progress = options["progress"]

        def stop(now: Any) -> None:
            progress(now)
            raise KeyboardInterrupt

        return counted(*args, **{**options, "progress": stop})

    counted = training_mip.train_hypernetwork
    changed = config(tmp_path, trial={"epochs": 1, "batch_size": 50, "state_seconds": 0})
    with monkeypatch.context() as patch:
        patch.setattr(training_mip, "train_hypernetwork", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_search(changed, quiet=True)
    folder = tmp_path / "runs" / "s"
    assert (folder / "hypernetwork_state.pt").exists()
    assert not (folder / "hypernetwork.pt").exists()
    monkeypatch.setattr(
        training_mip,
        "train_hypernetwork",
        lambda *args, **options: counted(*args, **{**options, "progress": lambda now: spoken.append(str(now.epoch))}),
    )
    result = resume_search("s", root=tmp_path / "runs", quiet=True)
    assert result.finished
    assert spoken == ["2"]  # the first pass was not made again
    assert (folder / "hypernetwork.pt").exists()


def test_a_training_that_fails_numerically_leaves_a_plain_search(tmp_path, monkeypatch, caplog):
    def fails(*args: Any, progress: Any, **options: Any) -> Any:
        raise TrialError("the loss is NaN", where="hypernetwork")

    monkeypatch.setattr(training_mip, "train_hypernetwork", fails)
    result = run_search(config(tmp_path), quiet=True)
    assert result.finished
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["the search goes on without predictions: hypernetwork: the loss is NaN"]
    assert result.hypernetwork["failed"] == "hypernetwork: the loss is NaN"
    assert not any(PREDICTED in trial.user_attrs for trial in stored(tmp_path).trials)
    monkeypatch.undo()
    # It is not tried again: the trials made so far were proposed without.
    resume_search("s", ["study.n_trials=5"], root=tmp_path / "runs", quiet=True)
    assert not (tmp_path / "runs" / "s" / "hypernetwork.pt").exists()


def test_a_space_of_which_nothing_can_be_predicted_is_searched_plainly(tmp_path, caplog):
    space = {"lr": SPACE["lr"], "width": {"type": "int", "low": 4, "high": 16}}
    result = run_search(config(tmp_path, space=space, family={"name": "mlp", "depth": 1}), quiet=True)
    assert result.finished
    assert "nothing to condition on" in result.hypernetwork["failed"]
    assert sum("goes on without predictions" in record.getMessage() for record in caplog.records) == 1


def test_another_model_than_the_saved_one_is_refused(tmp_path):
    run_search(config(tmp_path), quiet=True)
    other = tmp_path / "other" / "runs" / "s"
    other.mkdir(parents=True)
    (tmp_path / "runs" / "s" / "hypernetwork.pt").rename(other / "hypernetwork.pt")
    with pytest.raises(HypertuneError, match="hypernetwork"):
        run_search(config(tmp_path / "other", family={"name": "mlp", "width": 12, "depth": 1}), quiet=True)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"sampler": {"name": "mip", "hypernetwork": {"epoch": 3}}},
            r"sampler\.hypernetwork\.epoch: .*did you mean 'epochs'",
        ),
        ({"sampler": {"name": "mip", "hypernetwork": 3}}, r"sampler\.hypernetwork: not options; given 3"),
        ({"sampler": {"name": "mip", "hypernetwork": {"epochs": 0}}}, r"sampler\.hypernetwork\.epochs: out of range"),
        (
            {"sampler": {"name": "mip", "hypernetwork": {"setting": {"lrr": 1}}}},
            r"sampler\.hypernetwork\.setting\.lrr: .*did you mean 'lr'",
        ),
        ({"sampler": {"name": "mip", "n_startups": 3}}, r"sampler\.n_startups: .*did you mean 'n_startup'"),
        ({"sampler": {"name": "tpe", "hypernetwork": {}}}, r"sampler\.hypernetwork: this sampler has no hypernetwork"),
        ({"sampler": {"name": "stn", "warm_start": "tpe"}}, r"sampler\.warm_start: .*expected mip"),
        (
            {"sampler": "tpe", "trial": {"init_from_hypernet": True}},
            r"trial\.init_from_hypernet: there is no hypernetwork",
        ),
        (
            {"objective": "os:getpid", "family": None, "task": None},
            r"sampler: a hypernetwork is trained for a family and one task",
        ),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, sections, message):
    with pytest.raises(ConfigError, match=message):
        plan_search({k: v for k, v in config(tmp_path, **sections).items() if v is not None})


def test_a_head_that_is_too_large_is_told_before_any_trial_and_leaves_no_run(tmp_path):
    sampler = {"name": "mip", "hypernetwork": {"head": "full", "max_parameters": 100}}
    with pytest.raises(ConfigError, match=r"sampler\.hypernetwork\.head: .*parameters"):
        run_search(config(tmp_path, sampler=sampler), quiet=True)
    assert not (tmp_path / "runs" / "s").exists()


def test_self_tuning_trials_start_where_it_predicts_the_least(tmp_path, trainings):
    sampler = {"name": "stn", "warm_start": "mip", "hypernetwork": {"epochs": 2}}
    trial = {"epochs": 2, "batch_size": 50, "init_from_hypernet": True}
    result = run_search(config(tmp_path, sampler=sampler, trial=trial), quiet=True)
    assert result.finished
    assert len(trainings) == 1
    assert set(result.best.tuned) == {"dropout"}
    assert result.trials[0].params["dropout"] != pytest.approx(0.45 * 0.9, abs=1e-3)
    assert json.loads((tmp_path / "runs" / "s" / "result.json").read_text())["cost"]["hypernetwork_epochs"] == 2


def test_trials_begin_with_the_predicted_weights(tmp_path, monkeypatch):
    started: list[dict[str, torch.Tensor]] = []
    original = training_mip.MIPPredictor.initial_weights

    def noted(self: Any, params: Any) -> Any:
        started.append(original(self, params))
        return started[-1]

    monkeypatch.setattr(training_mip.MIPPredictor, "initial_weights", noted)
    study = {**config(tmp_path)["study"], "n_trials": 1}
    hypernetwork = {"name": "mip", "n_predictions": 64, "hypernetwork": {"epochs": 20}}
    losses = {}
    for begun in (False, True):
        trial = {"epochs": 1, "batch_size": 200, "init_from_hypernet": begun}
        folder = {**study, "folder": str(tmp_path / f"runs-{begun}")}
        result = run_search(config(tmp_path, study=folder, trial=trial, sampler=hypernetwork), quiet=True)
        losses[begun] = result.best.value
    assert started
    assert losses[True] < losses[False] - 0.3


def test_a_space_of_architectures_cannot_begin_from_it(tmp_path):
    space = {**SPACE, "width": {"type": "int", "low": 4, "high": 16}}
    changed = config(tmp_path, space=space, family={"name": "mlp", "depth": 1})
    changed["trial"]["init_from_hypernet"] = True
    with pytest.raises(ConfigError, match=r"trial\.init_from_hypernet: not every trial can begin"):
        run_search(changed, quiet=True)
    assert not (tmp_path / "runs" / "s").exists()


# Ranking


def test_rank_trains_writes_and_reuses(tmp_path, monkeypatch, trainings):
    monkeypatch.chdir(tmp_path)
    changed = config(tmp_path)
    Path("c.yaml").write_text(json.dumps(changed))
    out = CliRunner().invoke(app, ["rank", "c.yaml", "--n", "40", "--top", "3", "--out", "land"])
    assert out.exit_code == 0, out.output
    rows = list(csv.DictReader(Path("land/landscape.csv").read_text().splitlines()))
    losses = [float(row["predicted"]) for row in rows]
    assert len(rows) == 40
    assert losses == sorted(losses)
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 41)]
    assert all(0 <= float(row["dropout"]) <= 0.9 for row in rows)
    assert f"{losses[2]:.4g}" in out.stdout
    assert f"{losses[3]:.4g}" not in out.stdout
    assert "40 configurations ranked; the hypernetwork cost 2 epochs" in out.stdout
    assert "not predicted: lr" in out.stdout
    page = Path("land/landscape.html").read_text()
    assert "parcoords" in page
    assert 'src="http' not in page
    assert Path("land/landscape.png").read_bytes()[:4] == b"\x89PNG"
    again, _ = rank_search("c.yaml", folder="land", n=40)
    assert again.predicted.tolist() == pytest.approx(losses)
    assert len(trainings) == 1


def test_rank_loads_a_runs(tmp_path, trainings):
    run_search(config(tmp_path), quiet=True)
    landscape, folder = rank_search(None, run="s", root=tmp_path / "runs", n=10)
    assert folder == tmp_path / "runs" / "s"
    assert len(trainings) == 1
    assert landscape.facts["epochs"] == 2


def test_rank_says_what_is_wrong(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(config(tmp_path)))
    for arguments, message in (
        ([], "give a config or a run"),
        ([str(path), "--n", "0", "--out", str(tmp_path / "o")], "--n: out of range; given 0"),
        (["--run", "none", "--runs", str(tmp_path)], "RUN: no such run"),
    ):
        out = CliRunner().invoke(app, ["rank", *arguments])
        assert out.exit_code == 2
        assert message in out.stderr
    run_search(config(tmp_path, sampler="random"), quiet=True)
    with pytest.raises(ConfigError, match="the run has no hypernetwork"):
        rank_search(None, run="s", root=tmp_path / "runs")


def test_the_best_command_shows_the_price(tmp_path):
    run_search(config(tmp_path), quiet=True)
    out = CliRunner().invoke(app, ["best", "s", "--runs", str(tmp_path / "runs")])
    assert "cost: 4 epochs of trials and 2 of the hypernetwork" in out.stdout


def test_rank_correlation_needs_three_trials_and_is_turned_when_maximizing():
    def trial(predicted: float, value: float) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(value=value, user_attrs={PREDICTED: predicted})

    trials = [trial(1.0, 3.0), trial(2.0, 5.0), trial(3.0, 4.0), trial(4.0, 9.0)]
    assert hypernetwork_prior.rank_correlation(trials, maximize=False) == pytest.approx(0.8)
    assert hypernetwork_prior.rank_correlation(trials, maximize=True) == pytest.approx(-0.8)
    assert hypernetwork_prior.rank_correlation(trials[:2], maximize=False) is None
    assert hypernetwork_prior.rank_correlation([trial(1.0, 2.0)] * 3, maximize=False) is None
