"""The Triton kernels of ``row_dropout`` and ``row_noise``, interpreted, against Philox in PyTorch and statistics."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypertune.kernels import _dispatch, _philox
from hypertune.kernels import row_dropout as module
from hypertune.kernels.row_dropout import KERNEL, row_dropout, row_noise

SHAPES = [(1, 1), (5, 33), (2, 300), (2, 2, 3, 4), (6,)]


def inputs(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, axis: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator).to(dtype)
    size = [1] * len(shape)
    size[axis] = shape[axis]
    return x, torch.rand(size, generator=generator)


def seed_of_next_call() -> Tensor:
    """The seed that the op draws after `torch.manual_seed(0)`."""
    torch.manual_seed(0)
    seed = torch.randint(2**62, (1,))
    torch.manual_seed(0)
    return seed


def factors(seed: Tensor, x: Tensor, rate: Tensor) -> Tensor:
    """What dropout multiplies with, in float64, for a rate along axis 0."""
    uniform = _philox.uniform(seed, x.shape[0], x[0].numel()).reshape(x.shape)
    return torch.where(uniform >= rate, 1 / (1 - rate.double()), 0)


def test_uniform_and_normal_numbers_are_philoxs_own() -> None:
    # Known answer of Philox4x32-10 for counter 0 and key 0 (Random123's kat_vectors).
    words = _philox._philox(torch.tensor(0), torch.tensor([[0]]))
    assert [int(word) for word in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_dropout_forward_and_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, rate = inputs(shape, dtype)
    factor = factors(seed_of_next_call(), x, rate)
    x, rate = x.requires_grad_(), rate.requires_grad_()
    y = row_dropout(x, rate)
    assert _dispatch.taken()["row_dropout"].path == "triton"
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    dx, drate = torch.autograd.grad(y, (x, rate), upstream)
    rtol, atol = KERNEL.tolerance[dtype]
    assert y.dtype == dx.dtype == dtype
    torch.testing.assert_close(y.double(), x.double() * factor, rtol=rtol, atol=atol)
    torch.testing.assert_close(dx.double(), upstream.double() * factor, rtol=rtol, atol=atol)
    slope = (upstream.double() * x.double() * factor / (1 - rate.double())).reshape(shape[0], -1).sum(1)
    # The sum over a row adds up the roundings of its entries.
    scale = (upstream.double() * x.double() * factor / (1 - rate.double())).abs().reshape(shape[0], -1).sum(1).max()
    torch.testing.assert_close(drate.double().flatten(), slope, rtol=rtol, atol=max(atol, rtol * float(scale.detach())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_noise_forward_and_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, scale = inputs(shape, dtype)
    normal = _philox.normal(seed_of_next_call(), shape[0], x[0].numel()).reshape(shape).double()
    x, scale = x.requires_grad_(), scale.requires_grad_()
    y = row_noise(x, scale)
    assert _dispatch.taken()["row_noise"].path == "triton"
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    dx, dscale = torch.autograd.grad(y, (x, scale), upstream)
    rtol, atol = (1e-5, 2e-6) if dtype == torch.float32 else KERNEL.tolerance[dtype]
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), x.double() + scale.double() * normal, rtol=rtol, atol=atol)
    assert torch.equal(dx, upstream)
    slope = (upstream.double() * normal).reshape(shape[0], -1).sum(1)
    torch.testing.assert_close(dscale.double().flatten(), slope, rtol=1e-5, atol=1e-4)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(outer=st.integers(1, 3), examples=st.integers(1, 5), inner=st.integers(1, 70), axis=st.sampled_from([0, 1]))
def test_any_place_of_the_examples(outer: int, examples: int, inner: int, axis: int) -> None:
    shape = (outer, examples, inner) if axis else (examples, outer, inner)
    x, rate = inputs(shape, axis=axis)
    if examples == 1:
        seed = seed_of_next_call()
        uniform = _philox.uniform(seed, 1, x.numel()).reshape(shape)
    else:
        rows = outer * examples if axis else examples
        uniform = _philox.uniform(seed_of_next_call(), rows, x.numel() // rows).reshape(shape)
    expected = x.double() * torch.where(uniform >= rate, 1 / (1 - rate.double()), 0)
    torch.testing.assert_close(row_dropout(x, rate).double(), expected, rtol=1e-6, atol=1e-6)


def test_rates_of_zero_and_one() -> None:
    x = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = row_dropout(x, torch.tensor([[0.0], [1.0]]))
    assert torch.equal(y[0], x[0])
    assert not y[1].any()
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(dx, torch.tensor([1.0, 0.0])[:, None].expand(2, 50))


def test_a_seed_repeats_and_another_differs() -> None:
    x, rate = inputs((4, 64))
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(row_dropout(x, rate))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(row_dropout(x, rate), row_dropout(x, rate))
    own = [row_noise(x, rate, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*own)


def test_the_numbers_do_not_depend_on_the_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rate = inputs((5, 21))
    drawn = []
    for tile in ((8, 16), (1, 32), (4, 4)):
        monkeypatch.setattr(module, "tile", lambda inner, itemsize, tile=tile: tile)
        torch.manual_seed(0)
        drawn.append(row_dropout(x, rate))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_the_mask_is_the_same_backward_whatever_the_strides() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    y = row_dropout(x, torch.full((3, 1, 1, 1), 0.5))
    assert y.is_contiguous(memory_format=torch.channels_last)
    (dx,) = torch.autograd.grad(y, x, torch.ones(3, 4, 5, 6))
    assert torch.equal(dx != 0, y.detach() != 0)
    strided = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))[::2].T
    y = row_dropout(strided.requires_grad_(), torch.full((6, 1), 0.5))
    (dx,) = torch.autograd.grad(y, strided, torch.ones(4, 6).T)
    assert torch.equal(dx != 0, y.detach() != 0)


def test_a_fallback_in_the_backward_pass_finds_the_same_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 33, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = row_dropout(x, torch.full((5, 1), 0.5))

    def broken(*_: object) -> Tensor:
        raise RuntimeError("no such GPU")

    monkeypatch.setattr(module, "_launch", broken)
    # `auto` in the interpreter is no path for a CPU, so the failure is provoked where it falls back.
    monkeypatch.setattr(_dispatch, "_machine", lambda op, device: None)
    monkeypatch.setenv("HYPERTUNE_KERNELS", "auto")
    with pytest.warns(RuntimeWarning, match="row_dropout"):
        (dx,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(dx != 0, y.detach() != 0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_batch(shape: tuple[int, int]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    for op in (row_dropout, row_noise):
        y = op(x, torch.zeros(shape[0], 1))
        assert y.shape == shape
        y.sum().backward()


def test_operators_pass_torchs_own_checks() -> None:
    for operator, arguments in KERNEL.operators(torch.device("cpu")):
        torch.library.opcheck(
            operator, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
        )
