"""What produced a result: versions and the user's git commit."""

from __future__ import annotations

import contextlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hypertune import __version__

__all__ = ["git_commit", "versions"]

_PACKAGES = ("torch", "optuna", "mlflow", "ray", "triton", "numpy")


def versions() -> dict[str, str]:
    """Return the versions of hypertune, Python and the packages a result depends on; imports none of them."""
    found = {"hypertune": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def git_commit(folder: str | Path) -> str:
    """Return the commit a folder is at, with ``-dirty`` when it has changes; empty outside of git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
