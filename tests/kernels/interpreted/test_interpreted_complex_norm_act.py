"""The Triton kernels of ``complex_norm_act``, interpreted, against a float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypertune.families._complex_activations import complex_activation
from hypertune.families._complex_normalization import ComplexBatchNorm
from hypertune.families._complex_sequence import ComplexSequential
from hypertune.kernels import _complex_norm_act_launch as launch
from hypertune.kernels import _dispatch
from hypertune.kernels.complex_norm_act import FUSED_ACTIVATIONS, KERNEL, _arguments, complex_norm_act

CPU = torch.device("cpu")


def arguments(shape: tuple[int, ...], activation: str = "none", seed: int = 0) -> tuple[Any, ...]:
    return _arguments(seed, CPU, shape, activation)


@pytest.mark.parametrize("activation", FUSED_ACTIVATIONS)
@pytest.mark.parametrize("shape", [(5, 3, 7), (6, 3), (4, 2, 5, 3), (4, 1), (1, 2, 6), (1, 1, 1030)])
def test_every_activation_and_layout(shape: tuple[int, ...], activation: str, parity: Callable[..., None]) -> None:
    parity(KERNEL, arguments(shape, activation))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 40),
    channels=st.integers(1, 4),
    space=st.integers(1, 40),
    activation=st.sampled_from(FUSED_ACTIVATIONS),
)
def test_any_shape(batch: int, channels: int, space: int, activation: str) -> None:
    given_ = arguments((batch + 1, channels, space), activation)
    y, mean, covariance = complex_norm_act(*given_)
    assert _dispatch.taken()["complex_norm_act"].path == "triton"
    wide = [
        t.detach().to(torch.complex128 if t.is_complex() else torch.float64) if isinstance(t, Tensor) else t
        for t in given_
    ]
    right = KERNEL.reference(*wide)
    for made, expected in zip((y, mean, covariance), right, strict=True):
        torch.testing.assert_close(made.detach().to(expected.dtype), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(20, 2, 37), (3, 2, 150), (170, 1)])
@pytest.mark.parametrize("activation", ["none", "modrelu"])
def test_several_programs_of_a_channel(
    shape: tuple[int, ...], activation: str, parity: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_TILE", 32)
    monkeypatch.setattr(launch, "_PROGRAMS", 6)
    cut = launch.grid(shape[1], shape[0], 1 if len(shape) == 2 else shape[2])
    assert cut.splits > 1
    parity(KERNEL, arguments(shape, activation), tolerance=(5e-5, 5e-5))


@pytest.mark.parametrize("activation", FUSED_ACTIVATIONS)
def test_two_numbers_of_a_channel_are_no_worse_than_in_pytorch(activation: str) -> None:
    """Their covariance is singular, so that rounding errors grow by 1 / sqrt(eps), whoever computes it."""
    full = arguments((2, 4), activation)
    leaves = [t for t in full if isinstance(t, Tensor)]
    exact = [
        t.detach().to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_()
        if isinstance(t, Tensor)
        else t
        for t in full
    ]

    def gradient(op: Callable[..., Any], given_: Any, values: Any) -> Tensor:
        y = op(*given_)[0]
        return torch.autograd.grad(y.abs().square().sum() + y.real.sum(), values)[0]

    right = gradient(KERNEL.reference, exact, [t for t in exact if isinstance(t, Tensor)])
    errors = [(gradient(op, full, leaves) - right).abs().max().item() for op in (complex_norm_act, KERNEL.reference)]
    assert errors[0] <= 4 * errors[1] + 1e-5


def test_a_mean_far_above_the_spread_costs_no_digits() -> None:
    """Sums of squares would: (1000 + z)^2 in float32 has none left for the variance of z."""
    x = torch.randn(64, 2, 50, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)) + (1000 - 2000j)
    weight, bias = torch.tensor([[1.0, 1.0, 0.0]]).repeat(2, 1), torch.zeros(2, dtype=torch.complex64)
    _, _, covariance = complex_norm_act(x, weight, bias, None, "none", 1e-5)
    _, _, right = KERNEL.reference(
        x.to(torch.complex128), weight.double(), bias.to(torch.complex128), None, "none", 1e-5
    )
    torch.testing.assert_close(covariance.double(), right, rtol=1e-4, atol=1e-6)


def test_strides_and_conjugates_do_not_matter(parity: Callable[..., None]) -> None:
    x, *others = arguments((4, 3, 6, 5), "cardioid")
    turned = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    assert not turned.is_contiguous()
    parity(KERNEL, (turned, *others))
    sliced = torch.cat((x, x), dim=3).detach()[..., ::2].requires_grad_()
    parity(KERNEL, (sliced, *others))
    conjugated = complex_norm_act(x.conj(), *others)[0]
    torch.testing.assert_close(conjugated, complex_norm_act(x.conj().resolve_conj(), *others)[0])


def test_only_the_gradients_that_are_asked_for(parity: Callable[..., None]) -> None:
    full = arguments((4, 3, 5), "modrelu")
    for kept in range(4):
        some = [t.detach().requires_grad_(i == kept) if isinstance(t, Tensor) else t for i, t in enumerate(full)]
        parity(KERNEL, tuple(some))


def test_numbers_that_are_zero_or_not_finite() -> None:
    """Zeros pass with finite gradients; a NaN is not turned into a number."""
    weight = torch.tensor([[1.0, 1.0, 0.0]])
    bias = torch.zeros(1, dtype=torch.complex64)
    for activation in FUSED_ACTIVATIONS:
        shift = torch.full((1,), -0.1) if activation == "modrelu" else None
        x = torch.zeros(4, 1, 3, dtype=torch.complex64, requires_grad=True)
        y = complex_norm_act(x, weight, bias, shift, activation, 1e-5)[0]
        y.abs().square().sum().backward()
        assert not y.detach().abs().any()
        assert torch.isfinite(torch.view_as_real(x.grad)).all()
        broken = torch.zeros(4, 1, 3, dtype=torch.complex64)
        broken[0, 0, 0] = complex(float("nan"), 0)
        assert torch.view_as_real(complex_norm_act(broken, weight, bias, shift, activation, 1e-5)[0]).isnan().any()


def test_second_derivatives_are_those_of_the_reference() -> None:
    tensors = [t.detach().requires_grad_() for t in arguments((3, 2, 4), "modrelu")[:4]]
    exact = [t.detach().to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_() for t in tensors]

    def second(values: list[Tensor], op: Callable[..., Any]) -> list[Tensor]:
        y = op(*values, "modrelu", 1e-5)[0]
        first = torch.autograd.grad(y.abs().pow(3).sum(), values, create_graph=True)
        return list(torch.autograd.grad(sum(g.abs().pow(2).sum() for g in first), values))

    for made, right in zip(second(tensors, complex_norm_act), second(exact, KERNEL.reference), strict=True):
        torch.testing.assert_close(made.to(right.dtype), right, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("activation", ["crelu", "modrelu", "cardioid", "ctanh"])
def test_a_network_computes_the_same_with_the_kernels(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs, gradients and running statistics of layers in a row, with those that are fused and those that are not."""

    def run() -> list[Tensor]:
        torch.manual_seed(0)
        network = ComplexSequential(ComplexBatchNorm(3), complex_activation(activation, 3), ComplexBatchNorm(3))
        x = arguments((5, 3, 4))[0].detach()
        y = network(x)
        y.abs().square().sum().add(y.real.sum()).backward()
        return [y.detach(), *(p.grad for p in network.parameters()), *network.buffers(), network.eval()(x).detach()]

    made = run()
    assert _dispatch.taken()["complex_norm_act"].path == "triton"
    monkeypatch.setenv("HYPERTUNE_KERNELS", "reference")
    for a, b in zip(made, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert _dispatch.taken()["complex_norm_act"].path == "reference"


@pytest.mark.parametrize("broken", ["forward", "backward"])
def test_a_kernel_that_fails_falls_back_with_one_warning(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of resources")

    monkeypatch.setattr(launch, broken, fail)
    monkeypatch.setattr(_dispatch, "mode", lambda: "auto")
    monkeypatch.setattr(_dispatch, "_machine", lambda op, device: _dispatch._failed.get(op))
    full = arguments((4, 3, 5), "modrelu")
    with pytest.warns(RuntimeWarning, match="'complex_norm_act' does not run") as caught:
        made = torch.autograd.grad(complex_norm_act(*full)[0].abs().pow(2).sum(), full[:4])
    assert len(caught) == 1
    right = torch.autograd.grad(KERNEL.reference(*full)[0].abs().pow(2).sum(), full[:4])
    for a, b in zip(made, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
