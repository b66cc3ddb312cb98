"""The Triton kernels of ``phm_weight``, interpreted, against a float64 reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypertune.kernels import _dispatch
from hypertune.kernels.phm_weight import KERNEL, phm_weight


def parameters(
    n: int, out: int, inner: int, kernel: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(n, n, n, generator=generator).to(dtype)
    F = torch.randn(n, out, inner, *kernel, generator=generator).to(dtype)
    return A.requires_grad_(), F.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
def test_every_dimension_and_dtype(n: int, dtype: torch.dtype, parity: Callable[..., None]) -> None:
    # Half precision rounds inputs and outputs, not the sum: the error of a sum is that of its last rounding.
    parity(KERNEL, (*parameters(n, 3, 2, (3,), dtype), 1))


@pytest.mark.parametrize("kernel", [(), (1,), (3, 3), (2, 1, 3)])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_layout(kernel: tuple[int, ...], groups: int, parity: Callable[..., None]) -> None:
    parity(KERNEL, (*parameters(2, 4, 3, kernel), groups))


def test_several_programs_and_several_blocks_of_each(
    parity: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import hypertune.kernels.phm_weight as module

    monkeypatch.setattr(module, "_PROGRAMS", 3)
    parity(KERNEL, (*parameters(4, 20, 33), 1))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(n=st.integers(1, 8), out=st.integers(1, 5), inner=st.integers(1, 5), groups=st.integers(1, 3))
def test_any_shape(n: int, out: int, inner: int, groups: int) -> None:
    A, F = parameters(n, out * groups, inner)
    weight = phm_weight(A, F, groups)
    exact = torch.cat(
        [
            sum(torch.kron(a, f) for a, f in zip(A.double(), part, strict=True))
            for part in F.double().chunk(groups, dim=1)
        ]
    )
    torch.testing.assert_close(weight.double(), exact, rtol=1e-5, atol=1e-5)
    assert _dispatch.taken()["phm_weight"].path == "triton"


def test_strides_of_parameters_and_of_the_gradient_do_not_matter(parity: Callable[..., None]) -> None:
    A, F = parameters(4, 3, 2, (3, 3))
    A = A.detach().transpose(1, 2).requires_grad_()
    F = F.detach().to(memory_format=torch.preserve_format).transpose(3, 4).requires_grad_()
    assert not A.is_contiguous()
    assert not F.is_contiguous()
    parity(KERNEL, (A, F, 1))
    A, F = parameters(2, 3, 4)
    phm_weight(A, F).T.pow(2).sum().backward()
    exact = [p.detach().double().requires_grad_() for p in (A, F)]
    KERNEL.reference(*exact).T.pow(2).sum().backward()
    for parameter, right in zip((A, F), exact, strict=True):
        torch.testing.assert_close(parameter.grad.double(), right.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_only_the_gradient_that_is_asked_for(needs: tuple[bool, bool], parity: Callable[..., None]) -> None:
    A, F = parameters(4, 3, 2)
    parity(KERNEL, (A.detach().requires_grad_(needs[0]), F.detach().requires_grad_(needs[1]), 1))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_channels_is_no_error(shape: tuple[int, int]) -> None:
    A, F = parameters(2, *shape)
    weight = phm_weight(A, F)
    assert weight.shape == (2 * shape[0], 2 * shape[1])
    weight.sum().backward()
    assert A.grad is not None
    assert not A.grad.any()


def test_the_gradient_is_the_same_in_every_run() -> None:
    def gradient() -> Tensor:
        A, F = parameters(4, 12, 16)
        phm_weight(A, F).square().sum().backward()
        return A.grad

    assert torch.equal(gradient(), gradient())


def test_operators_pass_torchs_own_checks() -> None:
    for operator, arguments in KERNEL.operators(torch.device("cpu")):
        torch.library.opcheck(
            operator, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
        )
