"""Kernels on a real GPU: right against float64, launched, and faster than eager PyTorch as the roofline has it.

``make bench`` runs these where there is a CUDA or ROCm device; elsewhere each is skipped with its reason.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hypertune import kernels
from hypertune.kernels import _dispatch, measure

pytestmark = [
    pytest.mark.bench,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device: kernels are only interpreted"),
]


@pytest.fixture(autouse=True)
def _kernels_that_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that fails here is an error, not a fallback."""
    monkeypatch.setenv("HYPERTUNE_KERNELS", "triton")
    _dispatch.forget()


@pytest.mark.parametrize("name", kernels.names())
def test_the_kernel_is_right_on_this_gpu(name: str) -> None:
    kernel = kernels.load(name)
    for dtype, (rtol, atol) in kernel.tolerance.items():
        arguments = kernel.example(0, dtype, torch.device("cuda"))
        outputs = _tuple(kernel.op(*arguments))
        torch.cuda.synchronize()
        assert _dispatch.taken()[name].path == "triton", _dispatch.taken()[name].reason
        if kernel.random:
            continue
        exact = tuple(_double(a) if isinstance(a, Tensor) else a for a in arguments)
        expected = _tuple(kernel.reference(*exact))
        pairs = list(zip(outputs, expected, strict=True))
        wanted = [i for i, a in enumerate(arguments) if isinstance(a, Tensor) and a.requires_grad]
        if wanted:
            kept = [i for i, e in enumerate(expected) if e.requires_grad]
            upstream = [torch.randn_like(outputs[i]) for i in kept]
            found = torch.autograd.grad([outputs[i] for i in kept], [arguments[i] for i in wanted], upstream)
            right = torch.autograd.grad(
                [expected[i] for i in kept],
                [exact[i] for i in wanted],
                [g.to(expected[i].dtype) for g, i in zip(upstream, kept, strict=True)],
            )
            pairs += list(zip(found, right, strict=True))
        for one, other in pairs:
            torch.testing.assert_close(one.detach().to(other.dtype), other.detach(), rtol=rtol, atol=atol)


def test_random_kernels_draw_the_numbers_of_philox() -> None:
    from hypertune.kernels import _philox
    from hypertune.kernels.row_dropout import row_dropout, row_noise

    x, rate = torch.ones(100, 300, device="cuda"), torch.full((100, 1), 0.5, device="cuda")
    for op, draw in ((row_dropout, _philox.uniform), (row_noise, _philox.normal)):
        torch.manual_seed(0)
        seed = torch.randint(2**62, (1,), device="cuda")
        torch.manual_seed(0)
        made, drawn = op(x, rate), draw(seed, 100, 300)
        expected = 2 * (drawn >= 0.5).float() if op is row_dropout else 1 + 0.5 * drawn
        torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", kernels.names())
def test_operators_pass_torchs_own_checks(name: str) -> None:
    for operator, arguments in kernels.load(name).operators(torch.device("cuda")):
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("name", kernels.names())
def test_the_kernel_beats_eager_on_its_largest_size(name: str) -> None:
    kernel = kernels.load(name)
    found = [measure._measured(kernel, workload, torch.device("cuda")) for workload in kernel.workloads]
    for each in found:
        print(f"{name:<18} {each}")
    largest = max(found, key=lambda each: each.predicted.seconds)
    assert largest.seconds < largest.eager


def _tuple(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _double(tensor: Tensor) -> Tensor:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    double = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.detach().to(double).requires_grad_(tensor.requires_grad)
