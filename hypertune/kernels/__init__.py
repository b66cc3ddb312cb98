"""Fused GPU kernels, one file = one op: Triton where it helps and runs, plain PyTorch everywhere else.

The file name is the registration: ``kernels/phm_weight.py`` with its ``KERNEL`` is the op ``phm_weight``. Names are
listed without importing anything, and neither this package nor an op imports Triton before a kernel is launched.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypertune.kernels.contract import Kernel

__all__ = ["load", "names"]

# Modules that hold what the kernels share, and no kernel.
_SHARED = {"contract", "report", "measure"}


def names() -> list[str]:
    """Return the sorted names of the kernels; imports nothing."""
    return sorted(
        module.name
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_") and module.name not in _SHARED
    )


def load(name: str) -> Kernel:
    """Return the kernel of a name in `names`; imports PyTorch, not Triton."""
    kernel: Kernel = importlib.import_module(f"{__name__}.{name}").KERNEL
    return kernel
