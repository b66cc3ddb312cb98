"""The comparison is run as a script, so its package is no part of the installed one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

_HERE = Path(__file__).parent
for _folder in (_HERE, _HERE.parent / "benchmarks"):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
