"""Self-tuning through a whole search: config, sampler, trials, study, events."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from hypertune import run_search
from hypertune.config import Config
from hypertune.effects import catalogue
from hypertune.errors import ConfigError, HypertuneError, SpaceError
from hypertune.objectives import FamilyObjective
from hypertune.records import Reported
from hypertune.search import check_search
from hypertune.space import SearchSpace
from hypertune.training.self_tuning_settings import SelfTuningSettings

SPACE = {
    "lr": {"type": "float", "low": 0.003, "high": 0.1, "log": True},
    "dropout": {"type": "float", "low": 0.0, "high": 0.9, "self_tune": True},
    "weight_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True, "self_tune": True},
    "input_noise": {"type": "float", "low": 0.0, "high": 1.0, "self_tune": True},
}


def config(tmp_path: Path, **sections: Any) -> dict[str, Any]:
    return {
        "study": {"name": "s", "n_trials": 3, "folder": str(tmp_path / "runs"), "seed": 1},
        "family": {"name": "mlp", "width": 16, "depth": 1},
        "task": {"name": "digits", "n_train": 200, "n_val": 200, "n_test": 200},
        "space": SPACE,
        "sampler": "stn",
        "trial": {"epochs": 4, "batch_size": 20},
        "runner": "inline",
        "tracking": "none",
        **sections,
    }


def test_stn_tunes_inside_its_trials_and_starts_the_next_where_good_ones_ended(tmp_path):
    events: list[Any] = []
    result = run_search(config(tmp_path), listeners=[events.append], quiet=True)
    assert result.finished
    assert set(result.best.tuned) == {"dropout", "weight_decay", "input_noise"}
    reports = [event.report for event in events if isinstance(event, Reported) and event.number == result.best.number]
    assert [set(report.tuned) for report in reports] == [{"dropout", "weight_decay", "input_noise"}] * 4
    assert result.best.tuned == reports[int(result.best.metrics["best_epoch"])].tuned
    assert result.best.tuned != {name: result.best.params[name] for name in result.best.tuned}
    folder = tmp_path / "runs" / "s" / "trials" / f"{result.best.number:04d}"
    with (folder / "schedule.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "dropout", "weight_decay", "input_noise"]
    assert float(rows[1][1]) == pytest.approx(result.best.params["dropout"], rel=1e-5)


def test_the_same_search_gives_the_same_result(tmp_path):
    results = [run_search(config(tmp_path / name), quiet=True) for name in "ab"]
    assert [trial.value for trial in results[0].trials] == [trial.value for trial in results[1].trials]
    assert results[0].best.tuned == results[1].best.tuned


@pytest.mark.parametrize(
    ("sampler", "self_tuning", "tunes"),
    [("random", None, False), ("random", True, True), ("stn", False, False), ("random", {"lr": 0.05}, True)],
)
def test_who_decides_whether_trials_tune(tmp_path, sampler, self_tuning, tunes):
    sections = {"sampler": sampler, "trial": {"epochs": 2, "batch_size": 20, "self_tuning": self_tuning}}
    given = config(tmp_path, **sections)
    given["study"]["n_trials"] = 1
    result = run_search(given, quiet=True)
    assert bool(result.best.tuned) is tunes


def test_a_schedule_is_replayed_in_plain_training(tmp_path):
    given = config(tmp_path / "a")
    given["study"]["n_trials"] = 1
    first = run_search(given, quiet=True)
    schedule = tmp_path / "a" / "runs" / "s" / "trials" / "0000" / "schedule.csv"
    events: list[Any] = []
    given = config(tmp_path / "b", trial={"epochs": 4, "batch_size": 20, "self_tuning": {"replay": str(schedule)}})
    given["study"]["n_trials"] = 1
    run_search(given, listeners=[events.append], quiet=True)
    replayed = [event.report.tuned for event in events if isinstance(event, Reported)]
    assert replayed[-1] == pytest.approx(_last(schedule))
    assert first.best is not None


def _last(schedule: Path) -> dict[str, float]:
    with schedule.open() as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if name != "step"}


def _refusal(given: dict[str, Any]) -> HypertuneError:
    with pytest.raises(HypertuneError) as caught:
        check_search(given)
    return caught.value


def test_what_cannot_be_tuned_is_refused_before_any_trial(tmp_path):
    marked = {**SPACE, "lr": {**SPACE["lr"], "self_tune": True}}
    error = _refusal(config(tmp_path, space=marked))
    assert isinstance(error, SpaceError)
    assert error.where == "space.lr.self_tune"
    assert "best weights do not depend on it" in str(error)

    unmarked = {name: {k: v for k, v in entry.items() if k != "self_tune"} for name, entry in SPACE.items()}
    error = _refusal(config(tmp_path, space=unmarked, trial={"self_tuning": True}))
    assert "nothing to tune" in str(error)

    width = {**SPACE, "width": {"type": "int", "low": 8, "high": 32, "self_tune": True}}
    error = _refusal(config(tmp_path, space=width, family="mlp"))
    assert error.where == "space.width.self_tune"

    error = _refusal(config(tmp_path, task={"name": "digits", "n_train": 200, "n_val": 10, "n_test": 200}))
    assert error.where == "task.val"

    error = _refusal(config(tmp_path, trial={"self_tuning": {"replay": "nowhere.csv"}}))
    assert "nowhere.csv" in str(error)


def test_options_of_self_tuning_are_checked_when_the_config_is_read(tmp_path):
    with pytest.raises(ConfigError, match=r"trial\.self_tuning\.warmp"):
        Config.from_mapping(config(tmp_path, trial={"self_tuning": {"warmp": 0.1}}))
    with pytest.raises(ConfigError, match=r"trial\.self_tuning\.lr"):
        Config.from_mapping(config(tmp_path, trial={"self_tuning": {"lr": 0.0}}))


def test_weights_and_activations_can_be_acted_on_by_name_and_by_binding(tmp_path):
    space = {
        **SPACE,
        "weight_noise": {"type": "float", "low": 0.0, "high": 0.5, "self_tune": True},
        "activation_penalty": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True, "self_tune": True},
        "head_decay": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True, "self_tune": True},
    }
    options = {"bind": {"head_decay": {"weight_decay": "head*"}}}
    given = config(tmp_path, space=space, trial={"epochs": 2, "batch_size": 20, "self_tuning": options})
    given["study"]["n_trials"] = 1
    result = run_search(given, quiet=True)
    assert {"weight_noise", "activation_penalty", "head_decay"} <= set(result.best.tuned)


def test_the_config_has_the_training_rooms_defaults():
    read = Config.from_mapping(config(Path(), trial={"self_tuning": True}))
    assert FamilyObjective(read, SearchSpace.load(SPACE)).settings().self_tuning == SelfTuningSettings()


EFFECT = '''
from hypertune import Effect
from hypertune.effects.contract import Hyperparameter, per_example


class Fade(Effect):
    """Multiply the inputs by 1 - fade."""

    hyperparameters = {"fade": Hyperparameter("share of the brightness that is lost", high=1.0)}

    def inputs(self, x, values, generator):
        return x * (1 - per_example(values["fade"], x))
'''


@pytest.mark.parametrize("runner", ["inline", {"name": "local", "workers": 1}])
def test_a_users_own_effect_is_found_by_the_config_and_tuned(tmp_path, monkeypatch, runner):
    monkeypatch.setattr(catalogue, "_registered", {})
    (tmp_path / "fading_effect.py").write_text(EFFECT)
    space = {**SPACE, "fade": {"type": "float", "low": 0.0, "high": 0.5, "self_tune": True}}
    content = config(tmp_path, space=space, runner=runner, effects=["fading_effect:Fade"], source=str(tmp_path))
    content["study"]["n_trials"] = 1
    result = run_search(content, quiet=True)
    assert result.best.tuned["fade"] != result.best.params["fade"]


def test_wrong_effects_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "_registered", {})
    with pytest.raises(HypertuneError, match=r"effects\.0"):
        run_search(config(tmp_path, effects=["no_such_module:Fade"]), quiet=True)
    with pytest.raises(HypertuneError, match="not an effect"):
        run_search(config(tmp_path, effects=["math:sqrt"]), quiet=True)
    with pytest.raises(ConfigError, match="drop `effects`"):
        Config.from_mapping({"objective": "mine:train", "space": SPACE, "effects": ["mine:Fade"]})
