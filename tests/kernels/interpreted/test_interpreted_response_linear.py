"""The Triton kernels of ``response_linear``, interpreted, against a float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hypertune.kernels import _dispatch
from hypertune.kernels import _response_linear_launch as launch
from hypertune.kernels.response_linear import KERNEL, response_linear


def arguments(
    x: tuple[int, ...],
    gate: tuple[int, ...],
    outputs: int,
    *,
    learned: bool = True,
    bias: bool = True,
    bias_direction: bool = False,
    bias_gate: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, kind: torch.dtype = dtype, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(shape, generator=generator)).to(kind).requires_grad_()

    scale = x[-1] ** -0.5 if x[-1] else 1.0
    return (
        draw(*x),
        draw(outputs, x[-1], scale=scale),
        draw(outputs, x[-1], scale=scale) if learned else None,
        draw(outputs) if bias else None,
        draw(outputs) if bias_direction else None,
        draw(*gate, outputs, kind=torch.float32),
        draw(*gate, outputs, kind=torch.float32) if bias_gate else None,
    )


LAYOUTS = {
    "one row of each example": ((5, 23), (5,)),
    "tokens of an example": ((4, 7, 18), (4, 1)),
    "the batch on the second axis": ((7, 4, 18), (1, 4)),
    "the batch between two axes": ((3, 4, 5, 17), (1, 4, 1)),
    "one gate for all": ((6, 3, 19), (1, 1)),
    "one gate for all, without axes": ((6, 3, 19), ()),
    "every row its own": ((3, 4, 17), (3, 4)),
    "a single row": ((17,), ()),
    "one example": ((1, 1), (1,)),
}


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, learned: bool, parity: Callable[..., None]) -> None:
    parity(KERNEL, arguments(*LAYOUTS[layout], 21, learned=learned))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("learned", [True, False])
def test_every_dtype(dtype: torch.dtype, learned: bool, parity: Callable[..., None]) -> None:
    parity(KERNEL, arguments((6, 3, 37), (6, 1), 19, dtype=dtype, learned=learned))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("bias_gate", "bias_direction"), [(True, True), (True, False), (False, False)])
def test_every_part_may_be_missing(
    bias: bool, bias_gate: bool, bias_direction: bool, parity: Callable[..., None]
) -> None:
    parts = {"bias": bias, "bias_gate": bias_gate, "bias_direction": bias_direction}
    parity(KERNEL, arguments((4, 3, 9), (4, 1), 5, **parts))
    parity(KERNEL, arguments((4, 3, 9), (4, 1), 5, learned=False, **parts))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    examples=st.integers(1, 5), tokens=st.integers(1, 6), inputs=st.integers(1, 70), outputs=st.integers(1, 70),
    learned=st.booleans(),
)  # fmt: skip
def test_any_shape(examples: int, tokens: int, inputs: int, outputs: int, learned: bool) -> None:
    x, weight, direction, bias, _, gate, shift = arguments(
        (examples, tokens, inputs), (examples, 1), outputs, learned=learned
    )
    made = response_linear(x, weight, direction, bias, None, gate, shift)
    assert _dispatch.taken()["response_linear"].path == "triton"
    # Each example's own weight, formed.
    own = weight.double() + gate.double().transpose(1, 2) * (weight if direction is None else direction).double()
    expected = x.double() @ own.mT + bias.double() + shift.double()
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 300])
def test_several_parts_of_every_sum(rows: int, parity: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums over rows in parts, the last one ragged."""
    monkeypatch.setattr(launch, "weight_splits", lambda rows, blocks, block: 3)
    monkeypatch.setattr(launch, "gate_splits", lambda members, blocks: 4)
    parity(KERNEL, arguments((rows, 18), (1,), 17))
    parity(KERNEL, arguments((2, rows, 18), (2, 1), 17), tolerance=(1e-5, 2e-5))


def test_strides_do_not_matter(parity: Callable[..., None]) -> None:
    x, weight, direction, bias, _, gate, shift = arguments((5, 4, 18), (5, 1), 13)
    turned = [
        t.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
        for t in (x, weight, direction, gate, shift)
    ]
    assert not any(t.is_contiguous() for t in turned[:3])
    parity(KERNEL, (turned[0], turned[1], turned[2], bias, None, turned[3], turned[4]))
    y = response_linear(turned[0], turned[1], turned[2], bias, None, turned[3], turned[4])
    plain = response_linear(x, weight, direction, bias, None, gate, shift)
    torch.testing.assert_close(
        torch.autograd.grad(y.transpose(0, 2).pow(2).sum(), turned[0])[0],
        torch.autograd.grad(plain.pow(2).sum(), x)[0],
    )


def test_strided_slices(parity: Callable[..., None]) -> None:
    x, weight, direction, bias, _, gate, shift = arguments((6, 4, 36), (6, 1), 26)
    pick = [t.detach()[::2].requires_grad_() for t in (x, gate, shift)]
    parity(KERNEL, (pick[0], weight, direction, bias, None, pick[1], pick[2]))


def test_only_the_gradients_that_are_asked_for(parity: Callable[..., None]) -> None:
    full = arguments((4, 3, 9), (4, 1), 5, bias_direction=True)
    for kept in range(7):
        some = [t.detach().requires_grad_(position == kept) for position, t in enumerate(full)]
        parity(KERNEL, tuple(some))


@pytest.mark.parametrize(
    "shape", [((0, 3, 4), (0, 1), 5), ((3, 0, 4), (3, 1), 5), ((2, 3), (2,), 0), ((2, 0), (2,), 3)]
)
def test_nothing_to_do_is_no_error(shape: tuple[Any, ...]) -> None:
    given_ = arguments(*shape)
    made = response_linear(*given_)
    assert made.shape == (*shape[0][:-1], shape[2])
    made.sum().backward()
    assert torch.equal(made, KERNEL.reference(*given_))


def test_the_gate_keeps_its_precision_in_half_precision() -> None:
    """A gate of 0.02% is lost when 1 + gate is rounded to float16; here it scales what is accumulated."""
    x, weight, _, _, _, gate, _ = arguments((64, 64), (64,), 64, learned=False, dtype=torch.float16)
    gate = torch.full_like(gate, 2e-4)
    assert 1 + gate[0, 0].half() == 1
    made = response_linear(x, weight, None, None, None, gate, None).double()
    plain = x.double() @ weight.double().mT
    slope = (made * plain).sum() / (plain * plain).sum() - 1
    assert slope.item() == pytest.approx(2e-4, rel=0.1)


def test_autocast_multiplies_in_its_dtype() -> None:
    given_ = arguments((4, 3, 9), (4, 1), 5)
    with torch.autocast("cpu", torch.bfloat16):
        made = response_linear(*given_)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), response_linear(*given_), rtol=3e-2, atol=3e-2)
    made.float().sum().backward()
    assert all(t.grad is None or t.grad.dtype == torch.float32 for t in given_ if t is not None)


def test_second_derivatives_are_those_of_the_reference() -> None:
    tensors = [t.detach().requires_grad_() for t in arguments((3, 4), (3,), 2, bias_direction=True)]
    exact = [t.detach().double().requires_grad_() for t in tensors]

    def second(values: list[Tensor], op: Callable[..., Tensor]) -> list[Tensor]:
        first = torch.autograd.grad(op(*values).pow(3).sum(), values, create_graph=True)
        return list(torch.autograd.grad(sum(g.pow(2).sum() for g in first), values))

    for made, right in zip(second(tensors, response_linear), second(exact, KERNEL.reference), strict=True):
        torch.testing.assert_close(made.double(), right, rtol=1e-4, atol=1e-3)


def test_the_same_inputs_give_the_same_gradients() -> None:
    def gradients() -> tuple[Tensor, ...]:
        given_ = [t for t in arguments((40, 3, 33), (40, 1), 35) if t is not None]
        return torch.autograd.grad(response_linear(*given_[:4], None, *given_[4:]).pow(2).sum(), given_)

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


@pytest.mark.parametrize("broken", ["forward", "backward"])
def test_a_kernel_that_fails_falls_back_with_one_warning(
    broken: str, monkeypatch: pytest.MonkeyPatch, parity: Callable[..., None]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of resources")

    monkeypatch.setenv("HYPERTUNE_KERNELS", "triton")
    monkeypatch.setattr(launch, broken, fail)
    monkeypatch.setattr(_dispatch, "mode", lambda: "auto")
    monkeypatch.setattr(_dispatch, "_machine", lambda op, device: _dispatch._failed.get(op))
    for learned in (True, False):
        _dispatch.forget()
        full = arguments((4, 3, 9), (4, 1), 5, bias_direction=True, learned=learned)
        leaves = [t for t in full if t is not None]
        with pytest.warns(RuntimeWarning, match=r"kernel 'response_linear' does not run .*out of resources") as caught:
            found = torch.autograd.grad(response_linear(*full).pow(2).sum(), leaves)
        assert len(caught) == 1
        exact = tuple(None if t is None else t.detach().double().requires_grad_() for t in full)
        right = torch.autograd.grad(KERNEL.reference(*exact).pow(2).sum(), [t for t in exact if t is not None])
        for a, b in zip(found, right, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
