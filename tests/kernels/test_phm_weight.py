"""``phm_weight`` on the reference path, its choice of tiles, and its Triton path in the interpreter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hypertune.kernels import _dispatch
from hypertune.kernels._configurations import next_power_of_two
from hypertune.kernels.phm_weight import KERNEL, phm_weight, tile


def test_parity_with_float64_in_the_interpreter(run_interpreted: Callable[[str], None]) -> None:
    run_interpreted("phm_weight")


@pytest.mark.parametrize("n", range(1, 9))
def test_a_thread_keeps_a_bounded_tile(n: int) -> None:
    pairs, padded = next_power_of_two(n * n), next_power_of_two(n)
    block, warps = tile(n)
    assert 4 <= block * pairs / (32 * warps) <= 64
    for needs_a in (True, False):
        block, warps = tile(n, backward=True, needs_a=needs_a)
        assert block & (block - 1) == 0
        held = block * pairs * (padded if needs_a else 1)
        assert 2 <= held / (32 * warps) <= 64


def test_the_cpu_computes_the_reference_bit_by_bit() -> None:
    A, F, groups = KERNEL.example(0, torch.float32, torch.device("cpu"))
    assert torch.equal(phm_weight(A, F, groups), KERNEL.reference(A, F, groups))
    assert _dispatch.taken()["phm_weight"].path == "reference"
    assert "cpu" in _dispatch.taken()["phm_weight"].reason


# torch's own, when it first differentiates forward.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
def test_transforms_of_torch_work() -> None:
    A, F, groups = KERNEL.example(0, torch.float64, torch.device("cpu"))
    A, F = A.detach(), F.detach()
    many = torch.stack([F, 2 * F])
    made = torch.func.vmap(lambda f: phm_weight(A, f, groups))(many)
    torch.testing.assert_close(made[1], 2 * phm_weight(A, F, groups))
    _, tangent = torch.func.jvp(lambda f: phm_weight(A, f, groups), (F,), (F,))
    torch.testing.assert_close(tangent, phm_weight(A, F, groups))


def test_autocast_leaves_the_parameters_precision() -> None:
    A, F, groups = KERNEL.example(0, torch.float32, torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(phm_weight(A, F, groups), KERNEL.reference(A, F, groups))
        operator, arguments = KERNEL.operators(torch.device("cpu"))[0]
        assert torch.equal(operator(*arguments), KERNEL.reference(*arguments))


@pytest.mark.parametrize(
    ("n", "dtypes", "why"),
    [
        (16, (torch.float32, torch.float32), "larger than 8"),
        (2, (torch.float64, torch.float64), "dtypes"),
        (2, (torch.float16, torch.float32), "dtypes"),
    ],
)
def test_what_no_kernel_is_for(n: int, dtypes: tuple[torch.dtype, torch.dtype], why: str) -> None:
    import hypertune.kernels.phm_weight as module

    A, F = torch.ones(n, n, n, dtype=dtypes[0]), torch.ones(n, 1, 1, dtype=dtypes[1])
    assert why in str(module._unfit(A, F))


def test_a_weight_beyond_32_bit_offsets_goes_the_reference_way() -> None:
    import hypertune.kernels.phm_weight as module

    A = torch.empty(8, 8, 8, device="meta")
    assert module._unfit(A, torch.empty(8, 1 << 13, 1 << 12, device="meta")) is not None
    assert module._unfit(A, torch.empty(8, 1 << 12, 1 << 12, device="meta")) is None


def test_gradients_of_the_operator_and_gradients_of_those() -> None:
    operator, (A, F, groups) = KERNEL.operators(torch.device("cpu"))[0]
    A, F = (tensor.detach().double().requires_grad_() for tensor in (A, F))
    assert torch.autograd.gradcheck(lambda a, f: operator(a, f, groups), (A, F), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda a, f: operator(a, f, groups), (A, F), fast_mode=True)
