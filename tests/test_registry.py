from __future__ import annotations

import subprocess
import sys

import pytest

from hypertune import registry
from hypertune.errors import ConfigError


def test_names_are_the_file_names():
    assert registry.names("sampler") == ["cmaes", "data_driven", "gp", "mip", "qmc", "random", "stn", "tpe"]
    assert registry.names("pruner") == [
        "hyperband",
        "median",
        "none",
        "patient",
        "racing",
        "successive_halving",
        "wilcoxon",
    ]
    assert registry.names("runner") == ["inline", "local", "ray"]
    assert registry.names("effect") == [
        *("affine", "elastic", "erase", "input_noise", "label_smoothing", "masking", "mixup", "photometric")
    ]


def test_every_shipped_name_loads():
    for kind in registry.KINDS:
        for name in registry.names(kind):
            assert registry.load(kind, name) is not None


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from hypertune import registry; [registry.names(k) for k in registry.KINDS];"
        "print([m for m in ('torch', 'optuna', 'ray', 'mlflow', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_samplers_is_light():
    code = (
        "import sys, hypertune.samplers.tpe, hypertune.samplers.gp;"
        "print([m for m in ('torch', 'ray', 'mlflow', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_name_says_what_was_meant():
    with pytest.raises(ConfigError, match="sampler: unknown sampler 'tpee'.*did you mean 'tpe'"):
        registry.load("sampler", "tpee")


def test_reference_to_an_attribute():
    assert registry.load_attribute("os:path.join", where="x") is __import__("os").path.join


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (":train", "not an import reference"),
        ("json:", "not an import reference"),
        ("no_such_module_here:train", "is not found.*put no_such_module_here.py beside the config"),
        ("json:dumpss", "has no 'dumpss'.*did you mean 'dumps'"),
    ],
)
def test_bad_references(reference, message):
    with pytest.raises(ConfigError, match=message):
        registry.load_attribute(reference, where="objective")


def test_module_that_fails_on_import_is_told_apart_from_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "breaks_on_import.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="fails on import: ModuleNotFoundError.*not_installed_anywhere"):
        registry.load_attribute("breaks_on_import:f", where="objective")


def test_entry_points_offer_names(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("theirs", "json:dumps", "hypertune.samplers")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "hypertune.samplers" else [])
    assert "theirs" in registry.names("sampler")
    assert registry.load("sampler", "theirs") is __import__("json").dumps


def test_entry_point_groups():
    assert registry.KINDS["sampler"].entry_point_group == "hypertune.samplers"
    assert registry.KINDS["pruner"].entry_point_group == "hypertune.pruners"
    assert registry.KINDS["effect"].entry_point_group == "hypertune.effects"
