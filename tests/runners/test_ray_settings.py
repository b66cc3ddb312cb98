from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hypertune.config import Config
from hypertune.errors import ConfigError
from hypertune.runners._ray_settings import RaySettings
from hypertune.wiring import read_pruner, read_runner, with_scheduler

BASE = {"objective": "m:train", "space": {"x": {"type": "float", "low": 0, "high": 1}}}
FAMILY = {"family": "mlp", "task": "digits", "trial": {"epochs": 9}}


def scheduled(scheduler, base=BASE, **changes):
    return with_scheduler(Config.from_mapping({**base, "runner": {"name": "ray", "scheduler": scheduler}, **changes}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adress": "auto"}, r"runner\.adress: ray has no such option.*did you mean 'address'"),
        ({"address": ""}, r"runner\.address: not a value.*local, auto"),
        ({"max_concurrent": 0}, r"runner\.max_concurrent.*1 or more"),
        ({"max_concurrent": True}, r"runner\.max_concurrent.*1 or more"),
        ({"placement": "strict"}, r"runner\.placement.*given 'strict'.*pack or spread"),
        ({"placement": ["pack"]}, r"runner\.placement.*pack or spread"),
        ({"storage": 3}, r"runner\.storage.*fsspec"),
        ({"runtime_env": "x"}, r"runner\.runtime_env.*mapping"),
        ({"py_modules": "x"}, r"runner\.py_modules.*list of paths"),
        ({"py_modules": ["x"], "runtime_env": {"py_modules": []}}, r"runner\.py_modules: given twice"),
        ({"retries": -1}, r"runner\.retries.*0 or more"),
        ({"start_timeout": 0}, r"runner\.start_timeout"),
        ({"autoscaling": 1}, r"runner\.autoscaling.*true or false"),
        ({"resources_per_trial": 2}, r"runner\.resources_per_trial.*mapping|such as"),
        ({"resources_per_trial": {"gpus": 1}}, r"resources_per_trial\.gpus: no such resource.*did you mean 'gpu'"),
        ({"resources_per_trial": {"a100": 1}}, r"resources_per_trial\.a100.*custom: \{name: amount\}"),
        ({"resources_per_trial": {"cpu": "2"}}, r"resources_per_trial\.cpu: not an amount"),
        ({"resources_per_trial": {"gpu": 1.5}}, r"resources_per_trial\.gpu: only a part of one"),
        ({"resources_per_trial": {"custom": {"a100": -1}}}, r"resources_per_trial\.custom\.a100: not an amount"),
        ({"resources_per_trial": {"custom": 1}}, r"resources_per_trial\.custom: not a mapping"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigError, match=message):
        RaySettings.read(options)


def test_resources_by_rays_names():
    settings = RaySettings.read({"resources_per_trial": {"gpu": 0.5, "memory": 1000, "custom": {"a100": 1}}})
    assert settings.request == {"CPU": 1.0, "GPU": 0.5, "memory": 1000.0, "a100": 1.0}
    assert settings.threads == 1
    assert RaySettings.read({"resources_per_trial": {"cpu": 4}}).threads == 4
    nothing = RaySettings.read({"resources_per_trial": {"cpu": 0}})
    assert (nothing.request, nothing.threads) == ({}, 1)


def test_asha_is_successive_halving():
    config = scheduled({"name": "asha", "grace_period": 2, "reduction_factor": 3})
    assert (config.pruner.name, config.pruner.options) == (
        "successive_halving",
        {"min_resource": 2, "reduction_factor": 3},
    )
    assert "scheduler" not in config.runner.options
    assert type(read_pruner(config)).__name__ == "SuccessiveHalvingPruner"
    # What is written to the run folder reads back as the same.
    assert with_scheduler(Config.from_mapping(config.to_mapping())) == config


def test_hyperband_takes_its_length():
    config = scheduled({"name": "hyperband", "max_t": 27})
    assert (config.pruner.name, config.pruner.options) == ("hyperband", {"max_resource": 27})
    assert type(read_pruner(config)).__name__ == "HyperbandPruner"


def test_ashas_length_is_the_trials():
    assert scheduled({"name": "asha", "max_t": 9}, FAMILY).pruner.options == {}
    with pytest.raises(ConfigError, match=r"scheduler\.max_t: another length than trial\.epochs; given 10; expected 9"):
        scheduled({"name": "asha", "max_t": 10}, FAMILY)
    with pytest.raises(ConfigError, match="an objective decides itself how long"):
        scheduled({"name": "asha", "max_t": 10})


@pytest.mark.parametrize(
    ("scheduler", "changes", "message"),
    [
        ("asha", {"pruner": "median"}, "both a scheduler and a pruner"),
        ("pbt", {}, r"pbt exchanges weights.*hypertune\.ray"),
        ("ahsa", {}, r"no such scheduler.*did you mean 'asha'"),
        ({"name": "asha", "grace": 2}, {}, r"scheduler\.grace: asha has no such option.*grace_period"),
        ({"grace_period": 2}, {}, "not a scheduler"),
        (3, {}, "not a scheduler"),
    ],
)
def test_wrong_schedulers(scheduler, changes, message):
    with pytest.raises(ConfigError, match=message):
        scheduled(scheduler, **changes)


def test_a_scheduler_outside_a_config_says_where_it_goes():
    with pytest.raises(ConfigError, match=r"runner\.scheduler: schedulers become pruners"):
        RaySettings.read({"scheduler": "asha"})


EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_the_cluster_examples_are_configs_of_this_runner():
    manifests = list(yaml.safe_load_all((EXAMPLES / "ray_cluster" / "kuberay.yaml").read_text()))
    inside = yaml.safe_load(manifests[0]["data"]["config.yaml"])
    for config in (Config.from_mapping(inside), Config.load(EXAMPLES / "ray_cluster.yaml")):
        scheduled = with_scheduler(config)
        assert read_runner(scheduled).workers == 16
        assert type(read_pruner(scheduled)).__name__ == "HyperbandPruner"
    mounted = manifests[2]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["volumes"]
    assert {each["name"] for each in mounted} == {"config", "runs"}
    assert yaml.safe_load((EXAMPLES / "ray_cluster" / "aws.yaml").read_text())["head_node_type"] == "head"
