from __future__ import annotations

import json

import jsonschema
import pytest

from hypertune import registry
from hypertune._yaml import parse_value
from hypertune.config import Config, json_schema
from hypertune.errors import ConfigError

BASE = {"family": "phnn", "task": "digits"}


def test_defaults():
    config = Config.from_mapping(BASE)
    assert (config.study.n_trials, config.study.metric, config.study.direction) == (20, "val/loss", "minimize")
    assert (config.sampler.name, config.pruner.name, config.runner.name) == ("tpe", "none", "local")
    assert config.tracking.enabled


def test_short_and_long_form_of_a_component():
    config = Config.from_mapping({**BASE, "task": {"name": "digits", "n_train": 500}})
    assert (config.task.name, config.task.options) == ("digits", {"n_train": 500})
    assert Config.from_mapping(BASE).task.options == {}


@pytest.mark.parametrize("off", ["none", None, {"enabled": False}])
def test_tracking_can_be_off(off):
    assert Config.from_mapping({**BASE, "tracking": off}).tracking.enabled is False


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("study.n_trials=5", lambda c: c.study.n_trials == 5),
        ("task.n_train=500", lambda c: (c.task.name, c.task.options) == ("digits", {"n_train": 500})),
        ("sampler={name: tpe, multivariate: false}", lambda c: c.sampler.options == {"multivariate": False}),
        ("trial.grad_clip=1e-1", lambda c: c.trial.grad_clip == 0.1),
        ("study.timeout=60", lambda c: c.study.timeout == 60),
        ("study={n_trials: 3}", lambda c: (c.study.n_trials, c.study.seed) == (3, 7)),
        ("space={a: 1}", lambda c: c.space == {"a": 1}),
        ("study.name=a=b", lambda c: c.study.name == "a=b"),
        ("tracking=none", lambda c: not c.tracking.enabled),
    ],
)
def test_overrides_win(override, read):
    assert read(Config.from_mapping({**BASE, "study": {"seed": 7}}, [override]))


@pytest.mark.parametrize(
    ("content", "overrides", "message"),
    [
        ({}, [], "neither family and objective given"),
        ({**BASE, "objective": "m:train"}, [], "both family and objective given"),
        ({"family": "phnn"}, [], "a family needs a task"),
        ({"objective": "m:train"}, [], "an objective needs a space"),
        ({"objective": "m:train", "space": "phnn", "task": "digits"}, [], "brings its own data"),
        ({**BASE, "studdy": {}}, [], "studdy: unknown key.*did you mean 'study'"),
        ({**BASE, "study": {"n_trails": 4}}, [], r"study\.n_trails: unknown key.*did you mean 'n_trials'"),
        ({**BASE, "trial": {"epoch": 4}}, [], r"trial\.epoch: unknown key.*did you mean 'epochs'"),
        ({**BASE, "study": {"n_trials": "a"}}, [], r"study\.n_trials: .*valid integer; given 'a'"),
        ({**BASE, "study": {"n_trials": True}}, [], r"study\.n_trials: .*valid integer; given True"),
        ({**BASE, "study": {"n_trials": 0}}, [], r"study\.n_trials: must be greater than or equal to 1"),
        ({**BASE, "study": {"n_trials": None}}, [], "study: the study would never end"),
        ({**BASE, "study": {"direction": "down"}}, [], r"study\.direction: must be 'minimize' or 'maximize'"),
        ({**BASE, "study": {"name": "a/b"}}, [], r"study\.name: a name is a folder name too"),
        ({**BASE, "study": {"name": ".."}}, [], r"study\.name: a name is a folder name too"),
        ({**BASE, "study": {"metric": "test/loss"}}, [], r"study\.metric: selecting on a test metric"),
        ({**BASE, "study": 3}, [], r"study: must be a mapping of keys"),
        ({**BASE, "sampler": 3}, [], r"sampler: must be a name or a mapping with a name"),
        ({**BASE, "sampler": {"multivariate": True}}, [], r"sampler: must be a name or a mapping with a name"),
        ({**BASE, "sampler": {"name": "tpe", "gamma": float("nan")}}, [], r"sampler\.gamma: not a finite number"),
        ({**BASE, "space": [1]}, [], r"space: must be a name, a path or a mapping"),
        ({**BASE, "trial": {"dtype": "float8"}}, [], r"trial\.dtype: must be 'float32', 'bfloat16' or 'float16'"),
        (BASE, ["study.n_trials"], "-o: not an override; given 'study.n_trials'"),
        (BASE, ["=3"], "-o: not an override"),
        (BASE, ["study.n_trials=[1"], r"-o study\.n_trials: not a YAML value"),
        (BASE, ["study.n_trails=3"], r"study\.n_trails: unknown key"),
        ({**BASE, "source": "/x", "study": {"seed": -1}}, [], r"study\.seed"),
    ],
)
def test_bad_content_gives_one_error_with_the_dotted_path(content, overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Config.from_mapping(content, overrides)
    assert "\n" not in str(caught.value)


def test_errors_of_a_file_name_file_and_line(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("family: phnn\ntask: digits\nstudy:\n  seed: 1\n  n_trails: 3\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:5: study\.n_trails: unknown key"):
        Config.load(file)


def test_file_must_be_a_mapping(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("- 1\n")
    with pytest.raises(ConfigError, match="is no mapping"):
        Config.load(file)


def test_resolved_config_reads_back_as_itself(tmp_path):
    config = Config.from_mapping({**BASE, "space": {"a": {"type": "float", "low": 0, "high": 1}}}, ["study.name=x"])
    file = tmp_path / "c.yaml"
    file.write_text(config.to_yaml())
    again = Config.load(file)
    assert again.replace(source=None) == config


def test_resolved_config_keeps_an_absent_limit(tmp_path):
    config = Config.from_mapping(BASE, ["study.n_trials=null", "study.timeout=5"])
    file = tmp_path / "c.yaml"
    file.write_text(config.to_yaml())
    assert Config.load(file).study.n_trials is None


def test_fingerprint_is_of_what_decides_the_outcome():
    base = Config.from_mapping(BASE).fingerprint()
    for same in ("study.name=x", "study.folder=other", "runner.workers=2", "tracking.uri=http://x", "study.n_trials=9"):
        assert Config.from_mapping(BASE, [same]).fingerprint() == base, same
    for other in ("study.seed=1", "trial.epochs=3", "family.width=8", "sampler=random", "study.metric=val/accuracy"):
        assert Config.from_mapping(BASE, [other]).fingerprint() != base, other


def test_schema_is_valid_and_agrees_with_the_reader():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = [
        BASE,
        {"family": "my_module:build", "task": {"name": "digits", "n_train": 9}, "tracking": "none"},
        {
            "objective": "m:train",
            "space": {"a": 1},
            "runner": {"name": "local", "workers": 2},
            "sampler": {"name": "gp"},
        },
    ]
    bad = [
        {"study": {"n_trails": 3}},
        {"study": {"n_trials": "a"}},
        {"sampler": 3},
        {"trial": {"dtype": "x"}},
        {"fam": 1},
    ]
    for content in good:
        assert list(validator.iter_errors(content)) == [], content
        Config.from_mapping(content)
    for content in bad:
        assert list(validator.iter_errors(content)), content
        with pytest.raises(ConfigError):
            Config.from_mapping({**BASE, **content})


def test_schema_offers_every_shipped_name():
    text = json.dumps(json_schema())
    for kind in registry.KINDS.keys() - {"effect", "figure"}:  # a config names the hyperparameters that effects read
        for name in registry.names(kind):
            assert f'"{name}"' in text


def test_the_config_of_the_design_is_accepted():
    text = """
study:   {name: phnn-digits, direction: minimize, metric: val/loss, n_trials: 20, seed: 0, storage: "sqlite:///runs/study.db"}
family:  phnn
task:    digits
space:   phnn
sampler: tpe
trial:   {epochs: 30, batch_size: 128, device: auto}
runner:  {name: local, workers: 2}
tracking: {uri: "sqlite:///runs/mlflow.db", experiment: phnn-digits}
"""
    config = Config.from_mapping(parse_value(text, where="x"))
    assert config.runner.options == {"workers": 2}


def test_many_tasks_take_three_forms_and_keep_them():
    base = {"family": "mlp", "sampler": "data_driven", "pruner": "racing"}
    for tasks in (
        "my_module:tasks",
        ["wine", {"name": "digits", "n_train": 100}],
        {"name": "my_module:tasks", "count": 20, "hold_out": 5, "noise": 0.3},
    ):
        config = Config.from_mapping({**base, "tasks": tasks})
        assert Config.from_mapping(config.to_mapping()) == config
        jsonschema.validate({**base, "tasks": tasks}, json_schema())
    assert config.tasks.options == {"noise": 0.3}
    changed = Config.from_mapping({**base, "tasks": "my_module:tasks"}, ["tasks.count=7"])
    assert (changed.tasks.name, changed.tasks.count) == ("my_module:tasks", 7)
    assert changed.fingerprint() != Config.from_mapping({**base, "tasks": "my_module:tasks"}).fingerprint()
