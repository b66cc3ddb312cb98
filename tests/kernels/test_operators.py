"""Every registered operator against PyTorch's own checks, and how a compiled program sees an op."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hypertune import kernels
from hypertune.kernels import _dispatch
from hypertune.kernels.contract import Kernel

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", kernels.names())
def test_operators_pass_torchs_own_checks(name: str) -> None:
    pairs = kernels.load(name).operators(CPU)
    assert pairs
    for operator, arguments in pairs:
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("name", kernels.names())
@pytest.mark.parametrize("path", ["reference", "triton"])
def test_a_compiled_program_is_one_graph(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernels.load(name)
    if path == "triton":
        # A program traced for a GPU; the operators in it then find none, and compute without the kernel.
        monkeypatch.setattr(
            _dispatch, "_machine", lambda op, device: None if torch.compiler.is_compiling() else "no GPU"
        )
    called: list[str] = []

    def keep(module: torch.fx.GraphModule, _: Any) -> Any:
        called.extend(str(node.target) for node in module.graph.nodes)
        return module

    torch._dynamo.reset()
    compiled = torch.compile(kernel.op, backend=keep, fullgraph=True)
    arguments = kernel.example(0, torch.float32, CPU)
    found = _tuple(compiled(*arguments))
    expected = _tuple(kernel.op(*arguments))
    assert any(target.startswith("hypertune.") for target in called) == (path == "triton")
    for one, other in zip(found, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if not kernel.random:
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", kernels.names())
def test_the_example_is_within_the_tolerance_of_float64(name: str) -> None:
    kernel = kernels.load(name)
    for dtype, (rtol, atol) in kernel.tolerance.items():
        assert 0 <= rtol < 0.1
        assert 0 <= atol < 0.1
        if not kernel.random:
            _compare(kernel, dtype, rtol, atol)


def _compare(kernel: Kernel, dtype: torch.dtype, rtol: float, atol: float) -> None:
    arguments = kernel.example(1, dtype, CPU)
    exact = [a.detach().to(_double(a)) if isinstance(a, Tensor) else a for a in arguments]
    for found, right in zip(_tuple(kernel.op(*arguments)), _tuple(kernel.reference(*exact)), strict=True):
        torch.testing.assert_close(found.detach().to(right.dtype), right, rtol=rtol, atol=atol)


def _double(tensor: Tensor) -> torch.dtype:
    if tensor.is_complex():
        return torch.complex128
    return torch.float64 if tensor.is_floating_point() else tensor.dtype


def _tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
