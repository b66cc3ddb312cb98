"""``response_linear`` on the reference path, its choice of tiles, its call site, and its Triton path in the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from hypertune.hypernets.context import Context
from hypertune.hypernets.layers.linear import LinearResponse
from hypertune.kernels import _dispatch
from hypertune.kernels import response_linear as module
from hypertune.kernels._precision import precision
from hypertune.kernels.response_linear import KERNEL, response_linear

launch = pytest.importorskip("hypertune.kernels._response_linear_launch", reason="tiles are next to the launches")


def test_parity_with_float64_in_the_interpreter(run_interpreted: Callable[[str], None]) -> None:
    run_interpreted("response_linear")


def test_the_cpu_computes_the_reference_bit_by_bit() -> None:
    arguments = KERNEL.example(0, torch.float32, torch.device("cpu"))
    assert torch.equal(response_linear(*arguments), KERNEL.reference(*arguments))
    assert _dispatch.taken()["response_linear"].path == "reference"


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("direction_of_bias", [True, False])
def test_equals_each_examples_own_layer(learned: bool, direction_of_bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    x, weight, bias = draw(4, 3, 6), draw(5, 6), draw(5)
    direction, turn = draw(5, 6) if learned else None, draw(5) if direction_of_bias else None
    gate, shift = draw(4, 1, 5), draw(4, 1, 5)
    made = response_linear(x, weight, direction, bias, turn, gate, shift)
    for example in range(4):
        own = weight + gate[example, 0][:, None] * (weight if direction is None else direction)
        own_bias = bias + shift[example, 0] * (1 if turn is None else turn)
        torch.testing.assert_close(made[example], functional.linear(x[example], own, own_bias))
    leaves = [t for t in (x, weight, direction, bias, turn, gate, shift) if t is not None]

    def run(*_: torch.Tensor) -> torch.Tensor:
        return response_linear(x, weight, direction, bias, turn, gate, shift)

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


# Torch's own, at the first use of forward mode.
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_transforms_of_torch_work() -> None:
    x, weight, direction, bias, _, gate, shift = (
        t if t is None else t.detach() for t in KERNEL.example(0, torch.float64, torch.device("cpu"))
    )
    whole = response_linear(x, weight, direction, bias, None, gate, shift)
    mapped = torch.func.vmap(lambda a, g, s: response_linear(a, weight, direction, bias, None, g, s))(x, gate, shift)
    torch.testing.assert_close(mapped, whole)
    _, slope = torch.func.jvp(lambda g: response_linear(x, weight, direction, bias, None, g, shift), (gate,), (gate,))
    torch.testing.assert_close(slope, gate * (x @ direction.mT))


GROUPS = [
    ((5, 4), (5, 7), (5, 1)),
    ((5, 3, 4), (5, 1, 7), (5, 3)),
    ((3, 5, 4), (1, 5, 7), (5, 1)),
    ((3, 5, 2, 4), (1, 5, 1, 7), (5, 2)),
    ((3, 5, 2, 4), (3, 5, 1, 7), (15, 2)),
    ((3, 5, 4), (7,), (1, 15)),
    ((4,), (7,), (1, 1)),
    ((3, 5, 2, 4), (3, 1, 2, 7), (0, 0)),
    ((3, 5, 4), (2, 1, 7), (0, 0)),
    ((5, 4), (2, 5, 7), (0, 0)),
]


@pytest.mark.parametrize(("x", "gate", "expected"), GROUPS)
def test_rows_of_an_example_are_found_from_shapes(
    x: tuple[int, ...], gate: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert module._grouping(gate, x) == expected
    groups, inner = expected
    if groups:
        rows = torch.arange(groups * 1.0)[:, None].expand(-1, 7)
        wide = rows.reshape(*gate[:-1], 7).expand(*x[:-1], 7).reshape(-1, 7)
        r = torch.arange(len(wide))
        assert torch.equal(wide, rows[(r // inner) % groups])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"x": torch.ones(3, 4, dtype=torch.float64)}, "dtypes"),
    ({"weight": torch.ones(5, 4, dtype=torch.bfloat16)}, "dtypes"),
    ({"x": torch.ones(3, 6)}, "shapes"),
    ({"direction": torch.ones(4, 4)}, "shapes"),
    ({"bias": torch.ones(4)}, "shapes"),
    ({"bias_gate": torch.ones(1, 5)}, "two gates"),
    ({"x": torch.ones(0, 4), "gate": torch.ones(0, 5)}, "nothing"),
    ({"gate": torch.ones(2, 5)}, "whole examples"),
    ({"x": torch.ones(1, 4).expand(2**31, 4), "gate": torch.ones(1, 5)}, "2\\*\\*31"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "why"), REFUSED)
def test_what_no_kernel_is_for(changed: dict[str, Any], why: str) -> None:
    arguments = {
        "x": torch.ones(3, 4),
        "weight": torch.ones(5, 4),
        "direction": None,
        "bias": None,
        "bias_direction": None,
        "gate": torch.ones(3, 5),
        "bias_gate": None,
    }
    assert module._unless(**arguments) is None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(module._unless(**{**arguments, **changed}))


def test_wrong_shapes_are_pytorchs_own_errors() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        response_linear(torch.ones(3, 4), torch.ones(5, 6), None, None, None, torch.ones(3, 5), None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["forward", "input_gradient", "weight_gradient"])
def test_tiles_shrink_with_the_problem(kernel: str, dtype: torch.dtype) -> None:
    for rows, outputs, inputs in ((1, 1, 1), (17, 10, 784), (128, 256, 784), (1 << 20, 4096, 4096)):
        size = launch.tile(kernel, rows, outputs, inputs, dtype)
        for block, extent in ((size.rows, rows), (size.outputs, outputs), (size.inputs, inputs)):
            assert block & (block - 1) == 0
            assert 16 <= block <= 128
            assert block < 2 * max(extent, 16)
        # Two accumulators in float32 of the tile must leave half of 255 registers of each thread.
        assert 2 * size.rows * size.outputs / (32 * size.num_warps) <= 128


def test_small_problems_get_small_tiles_so_that_more_programs_run() -> None:
    large = launch.tile("forward", 1 << 16, 4096, 1024, torch.bfloat16)
    small = launch.tile("forward", 512, 512, 1024, torch.bfloat16)
    assert (large.rows, large.num_warps) == (128, 8)
    assert (small.rows, small.num_warps) == (64, 4)


def test_parts_of_sums_cover_all_rows_and_fill_the_gpu() -> None:
    assert launch.weight_splits(1 << 16, 4, 32) == 32
    assert launch.weight_splits(100, 4, 32) == 1
    assert launch.weight_splits(1 << 16, 1000, 32) == 1
    assert launch.gate_splits(1, 4) == 1
    assert launch.gate_splits(1 << 20, 1) == 64


def test_float32_products_by_device() -> None:
    def chosen(backend: str, capability: int, setting: str, dtype: torch.dtype = torch.float32) -> str:
        return precision(dtype, backend=backend, capability=capability, setting=setting)

    assert chosen("cuda", 9, "highest") == "tf32x3"
    assert chosen("cuda", 9, "high") == "tf32"
    assert chosen("cuda", 7, "high") == "ieee"
    assert chosen("hip", 9, "highest") == "ieee"
    assert chosen("cuda", 9, "high", torch.bfloat16) == "ieee"


def attached(rank: int, outputs: int = 5) -> tuple[LinearResponse, Context]:
    torch.manual_seed(0)
    context = Context()
    response = LinearResponse(nn.Linear(6, outputs), context, size=3, rank=rank, path="layer").double()
    for parameter in response.response_parameters():
        nn.init.normal_(parameter)
    return response, context


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("hooked", [True, False])
def test_the_layer_computes_the_same_with_and_without_the_op(rank: int, hooked: bool) -> None:
    """A hook on the plain layer must keep seeing the plain layer's outputs; then the layer goes the long way."""
    response, context = attached(rank)
    seen = []
    if hooked:
        response.plain.register_forward_hook(lambda module, args, output: seen.append(output))
    x, displacement = torch.randn(4, 7, 6, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    with context.using(displacement):
        made = response(x)
    for example in range(4):
        weights = response.responded(displacement[example])
        torch.testing.assert_close(made[example], functional.linear(x[example], weights["weight"], weights["bias"]))
    assert bool(seen) is hooked
    assert ("response_linear" in _dispatch.taken()) is (rank < 2 and not hooked)


def test_a_batch_on_another_axis_reaches_the_op() -> None:
    response, _ = attached(1)
    context = Context({"layer": 1})
    response._context = [context]
    x, displacement = torch.randn(7, 4, 6, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    with context.using(displacement):
        made = response(x)
    for example in range(4):
        weights = response.responded(displacement[example])
        expected = functional.linear(x[:, example], weights["weight"], weights["bias"])
        torch.testing.assert_close(made[:, example], expected)
