"""A linear layer whose weights move with each example, in one pass over its inputs.

References:
    [MacKay19] MacKay, Vicol, Lorraine, Duvenaud, Grosse. Self-Tuning Networks: Bilevel Optimization of
        Hyperparameters using Structured Best-Response Functions. ICLR 2019, arXiv 1903.03088.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.kernels._dispatch import path, run
from hypertune.kernels._second_order import differentiable_gradients
from hypertune.kernels.contract import Kernel, Work, Workload

__all__ = ["KERNEL", "response_linear"]

_NAME = "response_linear"
_HALF = (torch.bfloat16, torch.float16)
_LARGEST_SIZE = 2**31 - 1


def response_linear(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
) -> Tensor:
    """Return ``x W' + b + gate * (x V') + bias_gate * c`` ([MacKay19] eq. 11).

    The kernel reads x once for both products and adds gates and biases while the result is in registers; of the
    backward pass it computes ``dx = dy W + (gate * dy) V`` and ``dW, dV = dy' x, (gate * dy)' x`` each in one pass too.
    It accumulates in float32, and the gates stay in their own precision.

    Args:
        x: ``(..., in)``.
        weight: W, ``(out, in)``.
        direction: V, ``(out, in)``; None: W, and one product does for both.
        bias: b, ``(out,)``, or None.
        bias_direction: c, ``(out,)``; None: 1.
        gate: Broadcasts to the result: ``(batch, 1, ..., out)``, with the batch on any axis; ``(1, ..., out)`` when all
            examples share one.
        bias_gate: As ``gate``; None: the bias stays.

    Returns:
        ``(..., out)``, of the dtype that ``torch.nn.functional.linear`` returns, also under autocast.
    """
    given = [tensor for tensor in (x, weight, direction, bias, bias_direction, gate, bias_gate) if tensor is not None]
    if (
        path(
            _NAME,
            *given,
            unless=lambda: _unless(x, weight, direction, bias, bias_direction, gate, bias_gate),
            int64_offsets=True,
        )
        == "reference"
    ):
        return _reference(x, weight, direction, bias, bias_direction, gate, bias_gate)
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
        direction, bias, bias_direction = (
            None if tensor is None else tensor.to(dtype) for tensor in (direction, bias, bias_direction)
        )
    if bias_gate is None:
        bias_direction = None
    groups, inner = _grouping(gate.shape, x.shape)
    outputs = weight.shape[0]
    y, _ = _forward(
        x.reshape(-1, x.shape[-1]),
        weight,
        direction,
        bias,
        bias_direction,
        gate.reshape(groups, outputs),
        None if bias_gate is None else bias_gate.reshape(groups, outputs),
        inner,
        torch.is_grad_enabled() and gate.requires_grad,
    )
    made: Tensor = y.reshape(*x.shape[:-1], outputs)
    return made


def _reference(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
) -> Tensor:
    outputs = functional.linear(x, weight, bias)
    shift = bias_gate if bias_gate is None or bias_direction is None else bias_gate * bias_direction
    if direction is not None:
        moved = functional.linear(x, direction)
        made = (gate.to(moved.dtype) * moved).add_(outputs)
    else:
        if outputs.dtype in _HALF:
            # 1 + gate would round all outputs of a unit alike, a gate below 0.4% away; this rounds each output.
            made = (gate.to(outputs.dtype) * outputs).add_(outputs)
        else:
            made = (1 + gate).to(outputs.dtype) * outputs
        if bias is not None:
            # The outputs are scaled with their bias in them.
            shift = -gate * bias if shift is None else -gate * bias + shift
    # Not addcmul: the backward pass of a product is several times faster than its own on a CPU.
    return made if shift is None else made.add_(shift.to(made.dtype))


def _grouping(gate: Sequence[int], x: Sequence[int]) -> tuple[int, int]:
    """Return the number of examples, and of neighbouring rows of x that share one; ``(0, 0)`` for other layouts."""
    leading = list(x[:-1])
    shape = [1] * (len(leading) + 1 - len(gate)) + list(gate)
    if len(shape) != len(x):
        return 0, 0
    own = [axis for axis, size in enumerate(shape[:-1]) if size != 1]
    if any(shape[axis] != leading[axis] for axis in own):
        return 0, 0
    if not own:
        return 1, max(math.prod(leading), 1)
    first, last = own[0], own[-1]
    if shape[first : last + 1] != leading[first : last + 1]:
        return 0, 0
    return math.prod(leading[first : last + 1]), math.prod(leading[last + 1 :])


def _unless(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
) -> str | None:
    """Return why there is no kernel for these arguments, as one clause; errors are left to PyTorch's own operators."""
    values = [tensor for tensor in (x, weight, direction, bias, bias_direction) if tensor is not None]
    if not torch.is_autocast_enabled(x.device.type) and any(tensor.dtype != x.dtype for tensor in values):
        return "the dtypes of inputs and weights differ"
    if any(tensor.dtype not in (torch.float32, *_HALF) for tensor in (*values, gate)):
        return "a tensor is neither float32, bfloat16 nor float16"
    if weight.dim() != 2 or x.dim() == 0 or x.shape[-1] != weight.shape[1] or gate.shape[-1:] != weight.shape[:1]:
        return "the shapes do not fit"
    if (direction is not None and direction.shape != weight.shape) or any(
        vector is not None and vector.shape != weight.shape[:1] for vector in (bias, bias_direction)
    ):
        return "the shapes do not fit"
    if bias_gate is not None and (bias_gate.shape != gate.shape or bias_gate.dtype != gate.dtype):
        return "the two gates differ in shape or dtype"
    if not x.numel() or not weight.numel():
        return "there is nothing to multiply"
    if _grouping(gate.shape, x.shape)[0] == 0:
        return "the gates do not belong to whole examples"
    if max(x.numel() // x.shape[-1], *weight.shape) > _LARGEST_SIZE:
        return "an axis has 2**31 entries or more"
    return None


@torch.library.custom_op(f"hypertune::{_NAME}", mutates_args=())
def _forward(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    inner: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Return the result ``(rows, out)``, and where ``keep`` what the gate multiplies, for its gradient.

    Row r belongs to example ``(r // inner) % groups``; gates are ``(groups, out)``.
    """

    def triton_call() -> tuple[Tensor, Tensor]:
        from hypertune.kernels import _response_linear_launch

        return _response_linear_launch.forward(x, weight, direction, bias, bias_direction, gate, bias_gate, inner, keep)

    def reference_call() -> tuple[Tensor, Tensor]:
        made = _by_examples(x, weight, direction, bias, bias_direction, gate, bias_gate, inner)
        return made, functional.linear(x, weight if direction is None else direction) if keep else x.new_empty(0)

    return run(_NAME, triton_call, reference_call, x)


@_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    inner: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    shape = (x.shape[0], weight.shape[0])
    return x.new_empty(shape), x.new_empty(shape if keep else (0,))


@torch.library.custom_op(f"hypertune::{_NAME}_backward", mutates_args=())
def _backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    product: Tensor,
    inner: int,
    wants: list[bool],
) -> list[Tensor]:
    """Return the gradients of the seven tensors of `response_linear`, empty where not wanted."""

    def triton_call() -> list[Tensor]:
        from hypertune.kernels import _response_linear_launch

        return _response_linear_launch.backward(
            gradient, x, weight, direction, bias_direction, gate, bias_gate, product, inner, wants
        )

    def reference_call() -> list[Tensor]:
        rows = _by_row(gate, x, inner).to(gradient.dtype)
        gated = gradient * (rows if direction is not None else 1 + rows)
        plain = gated if direction is None else gradient
        to_x = plain @ weight if direction is None else plain @ weight + gated @ direction
        sums = _by_example(gradient, gate, inner)
        shifts = sums if bias_gate is None else sums * bias_gate
        made = (
            to_x,
            plain.mT @ x,
            gated.mT @ x,
            sums.sum(dim=0).to(x.dtype),
            shifts.sum(dim=0).to(x.dtype),
            _by_example(gradient * product, gate, inner) if wants[5] else gate,
            sums if bias_direction is None else (sums * bias_direction).to(gate.dtype),
        )
        return [tensor if want else x.new_empty(0) for tensor, want in zip(made, wants, strict=True)]

    return run(_NAME, triton_call, reference_call, gradient)


@_backward.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    product: Tensor,
    inner: int,
    wants: list[bool],
) -> list[Tensor]:
    vector = weight[:, 0]
    like = (x, weight, weight, vector, vector, gate, gate)
    return [
        torch.empty_like(tensor, memory_format=torch.contiguous_format) if want else x.new_empty(0)
        for tensor, want in zip(like, wants, strict=True)
    ]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.inner, _ = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    wants = list(ctx.needs_input_grad[:7])
    x, weight, direction, bias, bias_direction, gate, bias_gate, product = ctx.saved_tensors
    if torch.is_grad_enabled():
        inputs = (x, weight, direction, bias, bias_direction, gate, bias_gate)
        made = differentiable_gradients(partial(_by_examples, inner=ctx.inner), inputs, wants, (gradient,))
    else:
        made = _backward(gradient, x, weight, direction, bias_direction, gate, bias_gate, product, ctx.inner, wants)
    return (*(tensor if want else None for tensor, want in zip(made, wants, strict=True)), None, None)


_forward.register_autograd(_differentiate, setup_context=_setup)


def _by_examples(
    x: Tensor,
    weight: Tensor,
    direction: Tensor | None,
    bias: Tensor | None,
    bias_direction: Tensor | None,
    gate: Tensor,
    bias_gate: Tensor | None,
    inner: int,
) -> Tensor:
    """Return what `_forward` does, in plain PyTorch operators."""
    shifts = None if bias_gate is None else _by_row(bias_gate, x, inner)
    return _reference(x, weight, direction, bias, bias_direction, _by_row(gate, x, inner), shifts)


def _by_row(gate: Tensor, x: Tensor, inner: int) -> Tensor:
    """Return ``(groups, out)`` for every row of x."""
    return gate.repeat_interleave(inner, dim=0).repeat(x.shape[0] // (len(gate) * inner), 1)


def _by_example(rows: Tensor, gate: Tensor, inner: int) -> Tensor:
    """Return the sums of ``(rows, out)`` over each example's, ``(groups, out)``, of the gate's dtype."""
    return rows.reshape(-1, len(gate), inner, rows.shape[1]).sum(dim=(0, 2), dtype=gate.dtype)


def _compiled() -> Sequence[Any]:
    from hypertune.kernels import _response_linear_launch

    return _response_linear_launch.compiled()


def _example(seed: int, dtype: torch.dtype, device: torch.device) -> tuple[Any, ...]:
    return _arguments(seed, dtype, device, examples=5, tokens=3, outputs=19, inputs=23, learned=True)


def _arguments(
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    examples: int,
    tokens: int,
    outputs: int,
    inputs: int,
    learned: bool,
) -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0, kind: torch.dtype = dtype) -> Tensor:
        made = scale * torch.randn(shape, generator=generator)
        return made.to(device=device, dtype=kind).requires_grad_()

    scale = 1 / math.sqrt(inputs)
    weight, direction = draw(outputs, inputs, scale=scale), draw(outputs, inputs, scale=scale)
    gates = [draw(examples, 1, outputs, kind=torch.float32) for _ in range(2)]
    x, bias = draw(examples, tokens, inputs), draw(outputs)
    return x, weight, direction if learned else None, bias, None, gates[0], gates[1]


def _workload(label: str, *, examples: int, tokens: int, outputs: int, inputs: int, learned: bool) -> Workload:
    rows, dtype, size = examples * tokens, torch.bfloat16, 2
    products = 2 if learned else 1
    x, y, weights, gates = (
        size * rows * inputs,
        size * rows * outputs,
        products * size * outputs * inputs,
        2 * 4 * examples * outputs,
    )
    forward = x + weights + gates + 2 * y
    backward = (y + weights + gates // 2 + x) + (y + x + gates // 2 + weights) + (2 * y + gates)
    # Two products, the gate times one of them, the sum, the shift; each read and written on its own.
    eager_forward = products * (x + y) + weights + 2 * gates + 2 * y + 3 * y + 2 * y
    # The gate's and the shift's gradient, the gated gradient, and two products for each of the forward ones.
    eager_backward = 4 * y + 2 * y + 2 * y + gates + products * (2 * (y + x)) + 2 * weights + 3 * (products - 1) * x
    work = Work(
        moved=forward + backward,
        operations=3 * products * 2 * rows * outputs * inputs,
        launches=5,
        eager_moved=eager_forward + eager_backward,
        eager_launches=(7 + 13) if learned else (6 + 9),
        matrix=True,
    )
    return Workload(
        label=label,
        inputs=lambda device: _arguments(
            0, dtype, device, examples=examples, tokens=tokens, outputs=outputs, inputs=inputs, learned=learned
        ),
        work=work,
    )


def _operators(device: torch.device) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    pairs: list[tuple[Any, tuple[Any, ...]]] = []
    for learned in (True, False):
        x, weight, direction, bias, _, gate, bias_gate = _arguments(
            0, torch.float32, device, examples=3, tokens=4, outputs=5, inputs=6, learned=learned
        )
        with torch.no_grad():
            rows, gates, shifts = x.flatten(0, 1), gate.flatten(0, 1), bias_gate.flatten(0, 1)
            gradient = rows @ weight.mT
        for tensor in (rows, gates, shifts):
            tensor.requires_grad_()
        pairs.append((_forward, (rows, weight, direction, bias, None, gates, shifts, 4, True)))
        detached = [None if t is None else t.detach() for t in (rows, weight, direction, None, gates, shifts)]
        wants = [True, True, learned, True, False, True, True]
        pairs.append((_backward, (gradient, *detached, gradient, 4, wants)))
    return pairs


KERNEL = Kernel(
    name=_NAME,
    op=response_linear,
    reference=_reference,
    compiled=_compiled,
    example=_example,
    workloads=(
        _workload(
            "4096 rows, 1024->1024, scaled, bf16", examples=4096, tokens=1, outputs=1024, inputs=1024, learned=False
        ),
        _workload(
            "4096 rows, 1024->1024, learned, bf16", examples=4096, tokens=1, outputs=1024, inputs=1024, learned=True
        ),
        _workload(
            "128x196 tokens, 384->1536, learned, bf16", examples=128, tokens=196, outputs=1536, inputs=384, learned=True
        ),
        _workload("128 rows, 784->256, learned, bf16", examples=128, tokens=1, outputs=256, inputs=784, learned=True),
    ),
    tolerance={
        torch.float32: (1e-5, 1e-5),
        torch.bfloat16: (3e-2, 3e-2),
        torch.float16: (4e-3, 4e-3),
    },
    operators=_operators,
)
