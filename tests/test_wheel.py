"""The wheel is whole: built, installed in an environment of its own, it searches from an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def call(*command, cwd):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_carries_everything(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "hypertune").rglob("*.py")}
    spaces = {f"hypertune/search_spaces/{path.name}" for path in (ROOT / "search_spaces").glob("*.yaml")}
    dashboards = {f"hypertune/dashboards/{path.name}" for path in (ROOT / "dashboards").glob("*.yaml")}
    assert modules | spaces | dashboards | {"hypertune/py.typed"} <= names
    assert spaces
    assert dashboards
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_installed_in_a_clean_environment_it_searches_from_an_empty_folder(wheel, tmp_path):
    environment = tmp_path / "environment"
    call(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python = environment / "bin" / "python"
    call(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    # The dependencies, gigabytes of them, are lent by path. A path line does not process the other environment's own
    # .pth files, so this checkout's editable install stays out of sight.
    site = next((environment / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    where = call(python, "-c", "import hypertune; print(hypertune.__file__)", cwd=empty)
    assert Path(where.strip()).is_relative_to(environment)
    command = environment / "bin" / "hypertune"
    assert "phnn" in call(command, "spaces", cwd=empty).split()
    (empty / "config.yaml").write_text(
        "study: {name: s, n_trials: 2}\nfamily: mlp\ntask: wine\ntrial: {epochs: 2}\ntracking: none\n"
    )
    call(command, "search", "config.yaml", cwd=empty)
    assert json.loads((empty / "runs" / "s" / "result.json").read_text())["counts"]["complete"] == 2
