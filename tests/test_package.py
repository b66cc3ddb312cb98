from __future__ import annotations

import subprocess
import sys

import pytest

import hypertune


def test_every_public_name_is_there():
    for name in hypertune.__all__:
        assert getattr(hypertune, name) is not None
    assert set(hypertune.__all__) <= set(dir(hypertune))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hypertune.nothing


def test_importing_the_package_costs_nothing():
    code = "import sys, hypertune; print([m for m in ('torch', 'optuna', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
