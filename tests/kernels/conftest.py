"""What the tests of kernels share.

Triton decides when it is imported whether it interprets its functions, so parity tests live in ``interpreted/`` and run
in a process of their own, one per op: ``test_<op>.py`` starts it with the fixture `run_interpreted`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hypertune.kernels import _dispatch

HERE = Path(__file__).parent
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
collect_ignore = [] if INTERPRETED else ["interpreted"]


@pytest.fixture(autouse=True)
def _fresh_dispatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts as a new process would."""
    if not INTERPRETED:
        monkeypatch.delenv("HYPERTUNE_KERNELS", raising=False)
    _dispatch.forget()
    yield
    _dispatch.forget()


@pytest.fixture
def run_interpreted() -> Callable[[str], None]:
    """Run ``interpreted/test_<op>.py`` in a process where Triton interprets its functions; fail with its report."""

    def run(op: str) -> None:
        environment = {
            **os.environ,
            "TRITON_INTERPRET": "1",
            "HYPERTUNE_KERNELS": "triton",
            "OMP_NUM_THREADS": "1",
            # Not the settings of the process that runs this test.
            "PYTEST_ADDOPTS": "",
        }
        for name in [name for name in environment if name.startswith("PYTEST_XDIST")]:
            del environment[name]
        file = HERE / "interpreted" / f"test_interpreted_{op}.py"
        command = [sys.executable, "-m", "pytest", str(file), "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
        assert done.returncode == 0, done.stdout + done.stderr

    return run


@pytest.fixture
def parity() -> Callable[..., None]:
    """Compare the Triton path of an op, forward and every gradient, with its reference in float64."""

    def compare(
        kernel: Any, arguments: tuple[Any, ...], tolerance: tuple[float, float] | None = None, seed: int = 0
    ) -> None:
        """Compare.

        Args:
            kernel: The op's ``KERNEL``.
            arguments: Its arguments; tensors that require a gradient are compared in it.
            tolerance: Relative and absolute; that of the kernel for the first tensor's dtype by default.
            seed: Of the gradient of the outputs.
        """
        dtype = next(a.dtype for a in arguments if isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex()))
        rtol, atol = tolerance or kernel.tolerance[dtype]
        outputs = _tuple(kernel.op(*arguments))
        assert _dispatch.taken()[kernel.name].path == "triton", _dispatch.taken()[kernel.name].reason
        exact = tuple(_double(a) if isinstance(a, Tensor) else a for a in arguments)
        expected = _tuple(kernel.reference(*exact))
        assert len(outputs) == len(expected)
        generator = torch.Generator().manual_seed(seed)
        upstream = [torch.randn(e.shape, dtype=e.dtype, generator=generator) for e in expected]
        pairs = [("output", o, e) for o, e in zip(outputs, expected, strict=True)]
        wanted = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad]
        if wanted:
            kept = [i for i, e in enumerate(expected) if e.requires_grad]
            found = torch.autograd.grad(
                [outputs[i] for i in kept],
                [arguments[i] for i in wanted],
                [upstream[i].to(outputs[i].dtype) for i in kept],
            )
            # The upstream gradient as the op got it, rounded to its dtype.
            rounded = [upstream[i].to(outputs[i].dtype).to(upstream[i].dtype) for i in kept]
            right = torch.autograd.grad([expected[i] for i in kept], [exact[i] for i in wanted], rounded)
            pairs += [(f"gradient of argument {i}", f, r) for i, f, r in zip(wanted, found, right, strict=True)]
        for what, actual, right_one in pairs:
            torch.testing.assert_close(
                actual.detach().to(right_one.dtype),
                right_one.detach(),
                rtol=rtol,
                atol=atol,
                msg=lambda text, what=what: f"{what}: {text}",
            )

    return compare


def _tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _double(tensor: Tensor) -> Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    double = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().to(double).requires_grad_(tensor.requires_grad)
