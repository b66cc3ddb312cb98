"""``complex_norm_act`` on the reference path, its cuts, its call sites, and its Triton path in the interpreter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hypertune.errors import FamilyError
from hypertune.families._complex_activations import COMPLEX_ACTIVATIONS, complex_activation
from hypertune.families._complex_normalization import ComplexBatchNorm
from hypertune.families._complex_sequence import ComplexSequential
from hypertune.kernels import _dispatch
from hypertune.kernels import complex_norm_act as module
from hypertune.kernels._complex_norm_act_gradient import gradients
from hypertune.kernels.complex_norm_act import FUSED_ACTIVATIONS, KERNEL, complex_norm_act

CPU = torch.device("cpu")


def test_parity_with_float64_in_the_interpreter(run_interpreted: Callable[[str], None]) -> None:
    run_interpreted("complex_norm_act")


def test_the_cpu_computes_the_reference_bit_by_bit() -> None:
    arguments = KERNEL.example(0, torch.complex64, CPU)
    for made, expected in zip(complex_norm_act(*arguments), KERNEL.reference(*arguments), strict=True):
        assert torch.equal(made, expected)
    assert _dispatch.taken()["complex_norm_act"].path == "reference"


@pytest.mark.parametrize("activation", COMPLEX_ACTIVATIONS)
@pytest.mark.parametrize("training", [True, False])
def test_layers_in_a_row_compute_what_they_do_one_by_one(activation: str, training: bool) -> None:
    torch.manual_seed(0)
    fused = ComplexSequential(
        nn.Identity(), ComplexBatchNorm(3), complex_activation(activation, 3), ComplexBatchNorm(3)
    )
    plain = nn.Sequential(nn.Identity(), ComplexBatchNorm(3), complex_activation(activation, 3), ComplexBatchNorm(3))
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(5, 3, 4, dtype=torch.complex64)
    results = []
    for network in (fused.train(training), plain.train(training)):
        y = network(x)
        y.abs().square().sum().add(y.real.sum()).backward()
        results.append([y.detach(), *(p.grad for p in network.parameters()), *network.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_hooks_between_the_layers_still_see_what_they_saw() -> None:
    network = ComplexSequential(ComplexBatchNorm(3), complex_activation("crelu", 3))
    seen: list[Tensor] = []
    network[0].register_forward_hook(lambda layer, args, output: seen.append(output))
    y = network(torch.randn(5, 3, dtype=torch.complex64))
    assert (torch.view_as_real(seen[0]) < 0).any()
    assert (torch.view_as_real(y) >= 0).all()


@pytest.mark.parametrize("activation", FUSED_ACTIVATIONS)
def test_the_written_out_gradient_is_that_of_autograd(activation: str) -> None:
    x, weight, bias, shift, _, eps = module._arguments(0, CPU, (4, 3, 5), activation)
    leaves = [
        t.detach().to(torch.complex128 if t.is_complex() else torch.float64).requires_grad_()
        for t in (x, weight, bias, shift)
        if t is not None
    ]
    given = (*leaves, *[None] * (4 - len(leaves)))
    y, mean, spread = KERNEL.reference(*given, activation, eps)
    upstream = torch.randn_like(y)
    right = torch.autograd.grad(y, leaves, upstream)
    statistics = torch.cat((mean.squeeze(2), spread.flatten(1)[:, [0, 3, 1]]), dim=1)
    plain = [None if t is None else t.detach() for t in given]
    made = gradients(upstream, *plain, statistics, activation, eps)
    for a, b in zip(made, right, strict=False):
        torch.testing.assert_close(a, b)


def test_wrong_activations_are_refused() -> None:
    x, weight, bias, shift, _, eps = KERNEL.example(0, torch.complex64, CPU)
    with pytest.raises(FamilyError, match="did you mean 'crelu'"):
        complex_norm_act(x, weight, bias, None, "crelo", eps)
    with pytest.raises(FamilyError, match="crelu with a bias"):
        complex_norm_act(x, weight, bias, shift, "crelu", eps)
    with pytest.raises(FamilyError, match="modrelu without a bias"):
        complex_norm_act(x, weight, bias, None, "modrelu", eps)


def test_what_no_kernel_is_for() -> None:
    x, weight, bias, shift, *_ = (
        t.detach() if isinstance(t, Tensor) else t for t in KERNEL.example(0, torch.complex64, CPU)
    )
    assert module._unless(x, weight, bias, shift) is None
    assert "complex64" in str(module._unless(x.to(torch.complex128), weight, bias, shift))
    assert "complex64" in str(module._unless(x, weight.double(), bias, shift))
    assert "nothing" in str(module._unless(x[:0], weight, bias, shift))
    wide = torch.zeros(1, 1, 1, dtype=torch.complex64).expand(1, 3, 2**30)
    assert "2**31" in str(module._unless(wide, weight, bias, shift))


@pytest.mark.parametrize(
    ("channels", "batch", "space"), [(1, 2, 1), (64, 128, 1024), (256, 4096, 1), (3, 7, 1500), (2000, 64, 49)]
)
def test_cuts_cover_the_channel_and_fill_the_gpu(channels: int, batch: int, space: int) -> None:
    launch = pytest.importorskip("hypertune.kernels._complex_norm_act_launch")
    cut = launch.grid(channels, batch, space)
    assert cut.block_b * cut.block_s <= 1024
    tiles = -(-batch // cut.block_b) * -(-space // cut.block_s)
    assert (cut.splits - 1) * cut.tiles_per_split < tiles <= cut.splits * cut.tiles_per_split
    assert cut.splits <= 128
    # Enough programs for a large GPU, or one tile each.
    assert channels * cut.splits >= 264 or cut.tiles_per_split == 1 or cut.splits >= 64
