from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from hypertune import __version__, registry
from hypertune.cli import app

PUBLIC = {
    "report",
    "export",
    "rank",
    "search",
    "resume",
    "best",
    "check",
    "schema",
    "families",
    "samplers",
    "tasks",
    "spaces",
    "ui",
    "doctor",
}


@pytest.fixture
def cli():
    runner = CliRunner()

    def call(*arguments):
        return runner.invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return call


def test_help_names_every_verb_and_is_fast(hypertune):
    def seconds():
        # Processor time: it starts no thread and waits for nothing, and a busy machine stretches the time by the clock.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = hypertune("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert all(verb in done.stdout for verb in PUBLIC)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


def test_version(cli):
    assert cli("--version").stdout.strip() == __version__


def test_search_and_best(hypertune, objective):
    done = hypertune("search", hypertune.write(objective(objective="user_code:with_details")))
    assert done.returncode == 0
    assert "best trial" in done.stdout
    assert "test/loss" in done.stdout
    assert "hypertune ui runs/s" in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("trial ")]
    assert len(lines) == 6
    assert "6/6" in lines[-1]
    stored = json.loads((hypertune.folder / "runs" / "s" / "result.json").read_text())["best"]
    assert json.loads(hypertune("best", "s", "--json").stdout) == stored
    assert yaml.safe_load(hypertune("best", "s", "--yaml").stdout) == {"x": 0.2}
    assert f"best trial {stored['number']}" in hypertune("best").stdout


def test_quiet_search_says_nothing_on_the_way(hypertune, objective):
    done = hypertune("search", hypertune.write(objective(runner="inline")), "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_dry_run_prints_the_plan_and_writes_nothing(hypertune, objective):
    done = hypertune(
        "search",
        hypertune.write(objective()),
        "--dry-run",
        "-o",
        "sampler={name: tpe, gamma: null}",
        "-o",
        "sampler=qmc",
    )
    assert done.returncode == 0, done.stderr
    for text in ("6 trials", "qmc", "user_code:quadratic", "0 .. 1", "study.db"):
        assert text in done.stdout
    assert not (hypertune.folder / "runs").exists()


def test_exit_codes(hypertune, objective):
    config = hypertune.write(objective(objective="user_code:raises", study={"n_trials": 2}, runner="inline"))
    failed = hypertune("search", config)
    assert failed.returncode == 3
    assert "all 2 trials of s failed; the last: ValueError: this objective always fails" in failed.stderr
    assert hypertune("search", config).returncode == 2  # the name is taken
    assert hypertune("resume", "s").returncode == 3
    assert hypertune("best", "s").returncode == 2


USER_ERRORS = [
    (["search", "none.yaml"], "config: file 'none.yaml' is not found"),
    (["search", "config.yaml", "-o", "study.n_trails=3"], "study.n_trails: unknown key"),
    (["search", "config.yaml", "-o", "nonsense"], "-o: not an override"),
    (["search", "broken.yaml"], "broken.yaml is not valid YAML: line 3"),
    (["check", "config.yaml", "-o", "sampler=tpee"], "did you mean 'tpe'"),
    (["check", "config.yaml", "-o", "objective=user_code:quadrati"], "did you mean 'quadratic'"),
    (["resume", "nothing"], "RUN: no such run; given 'nothing'"),
    (["resume"], "RUN: no run"),
    (["best", "nothing"], "RUN: no such run"),
    (["ui", "nothing"], "RUN: no such run"),
    (["spaces", "phn"], "did you mean 'phnn'"),
    (["families", "phn"], "did you mean 'phnn'"),
    (["best", "--json", "--yaml"], "exclude each other"),
]


@pytest.mark.parametrize(("arguments", "message"), USER_ERRORS, ids=[" ".join(a) for a, _ in USER_ERRORS])
def test_a_users_mistake_is_one_line_and_exit_code_2(hypertune, objective, cli, arguments, message):
    hypertune.write(objective())
    hypertune.write("a: 1\nb: [1\n", "broken.yaml")
    done = cli(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert not Path("runs/s").exists()


def test_wrong_usage_is_exit_code_2_too(cli):
    assert cli("search").exit_code == 2
    assert cli("serch", "x").exit_code == 2


def test_check_builds_models(hypertune, family):
    done = hypertune("check", hypertune.write(family()))
    assert (done.returncode, done.stdout) == (
        0,
        "ok: user_code:build on user_code:task, 3 hyperparameters, sampler tpe\n",
    )
    bad = hypertune("check", hypertune.write(family(family="user_code:build_picky")))
    assert bad.returncode == 2
    assert "hidden must be at most 12" in bad.stderr


def test_schema_is_json_schema(cli):
    jsonschema.Draft202012Validator.check_schema(json.loads(cli("schema").stdout))


@pytest.mark.parametrize(("verb", "kind"), [("families", "family"), ("samplers", "sampler"), ("tasks", "task")])
def test_lists_and_descriptions(cli, verb, kind):
    listed = cli(verb).stdout.split()
    assert listed == registry.names(kind)
    for name in listed:
        shown = cli(verb, name).stdout
        assert len(shown.strip().splitlines()) >= 3, name


def test_family_shows_its_hyperparameters_and_reference(cli):
    shown = cli("families", "phnn").stdout
    assert "2110.04176" in shown
    assert "width:" in shown


def test_spaces(cli):
    assert "phnn" in cli("spaces").stdout.split()
    shown = cli("spaces", "phnn").stdout
    assert "log" in shown
    assert "yes" in shown


def test_doctor_names_versions_and_devices(cli):
    shown = cli("doctor").stdout
    for what in ("torch", "optuna", "mlflow", "ray", "triton", "gpu", "python"):
        assert what in shown


def test_the_users_module_is_found_beside_the_config(hypertune, objective):
    content = objective(runner="local", objective="beside:train")
    del content["source"]
    (hypertune.folder / "sub").mkdir()
    (hypertune.folder / "sub" / "beside.py").write_text("def train(trial):\n    return trial.params['x']\n")
    done = hypertune("search", hypertune.write(content, "sub/config.yaml"))
    assert done.returncode == 0, done.stderr
    assert (hypertune.folder / "runs" / "s" / "result.json").exists()


def test_module_runs_as_a_command():
    command = [sys.executable, "-m", "hypertune", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == __version__


def test_a_read_only_folder_is_one_error(hypertune, objective):
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere; the /proc case of test_search covers it")
    config = hypertune.write(objective())
    hypertune.folder.chmod(0o555)
    try:
        done = hypertune("search", config)
    finally:
        hypertune.folder.chmod(0o755)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
