"""What this machine has: versions, devices, and what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from hypertune import __version__

__all__ = ["Finding", "examine", "examine_kernels"]

_PACKAGES = ("torch", "optuna", "mlflow", "ray", "triton", "scikit-learn", "pandas", "cmaes", "mlxtend")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything; nothing here raises."""
    findings = [
        Finding("hypertune", True, __version__),
        Finding("python", True, f"{platform.python_version()} on {platform.platform()}"),
        Finding("cores", True, str(os.cpu_count())),
    ]
    for package in _PACKAGES:
        try:
            findings.append(Finding(package, True, version(package)))
        except PackageNotFoundError:
            hint = "optional: pip install 'hypertune[examples]'" if package == "mlxtend" else "pip install it"
            findings.append(Finding(package, False, f"not installed; {hint}"))
    for what, look in (("gpu", _gpu), ("triton gpu", _triton), ("ray start", _ray)):
        try:
            findings.append(look(what))
        except Exception as error:
            findings.append(Finding(what, False, f"{type(error).__name__}: {error}".splitlines()[0]))
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    findings.append(Finding("disk here", free > 1.0, f"{free:.1f} GB free"))
    return findings


def examine_kernels() -> list[Finding]:
    """Look at the path of every fused kernel, and on a GPU at its speed beside what is predicted.

    Timing takes a minute or two. What fails is a finding; nothing here raises.
    """
    try:
        measure = _module("hypertune.kernels.measure")
        findings = [
            Finding(name, chosen.path == "triton", f"{chosen.path}: {chosen.reason}")
            for name, chosen in measure.paths().items()
        ]
        torch = _module("torch")
        if torch.cuda.is_available() and any(finding.good for finding in findings):
            findings += [Finding(each.kernel, True, str(each)) for each in measure.measure(torch.device("cuda"))]
    except Exception as error:
        return [Finding("kernels", False, f"{type(error).__name__}: {error}".splitlines()[0])]
    return findings


def _gpu(what: str) -> Finding:
    torch = _module("torch")
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding(what, True, ", ".join(devices))
    if torch.backends.mps.is_available():
        return Finding(what, True, "mps")
    return Finding(what, False, "none; trials run on the CPU")


def _triton(what: str) -> Finding:
    active: Callable[[], object] = _module("triton.runtime").driver.active.get_current_target
    return Finding(what, True, str(active()))


def _ray(what: str) -> Finding:
    found = importlib.util.find_spec("ray")
    return Finding(what, found is not None, "importable" if found else "not importable")


def _module(name: str) -> ModuleType:
    return importlib.import_module(name)
