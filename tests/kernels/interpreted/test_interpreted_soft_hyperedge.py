"""The Triton kernels of ``soft_hyperedge``, interpreted, against a float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypertune.families._soft_hyperedge import SoftHyperedges
from hypertune.kernels import _dispatch
from hypertune.kernels import _soft_hyperedge_launch as launch
from hypertune.kernels import soft_hyperedge as module
from hypertune.kernels.soft_hyperedge import KERNEL, _arguments, soft_hyperedge

CPU = torch.device("cpu")


def arguments(
    vertices: int,
    hyperedges: int,
    width: int,
    *,
    selected: int | None = None,
    dtype: torch.dtype = torch.float32,
    examples: int = 2,
    seed: int = 0,
) -> tuple[Any, ...]:
    return _arguments(
        seed,
        dtype,
        CPU,
        examples=examples,
        vertices=vertices,
        hyperedges=hyperedges,
        width=width,
        selected=selected,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("selected", [None, 3])
def test_every_dtype(dtype: torch.dtype, selected: int | None, parity: Callable[..., None]) -> None:
    parity(KERNEL, arguments(21, 7, 12, selected=selected, dtype=dtype))


@pytest.mark.parametrize(
    ("vertices", "hyperedges", "width"),
    [(1, 1, 1), (3, 17, 5), (70, 3, 33), (40, 20, 16), (17, 2, 100), (5, 40, 128)],
)
def test_odd_and_tiny_shapes(vertices: int, hyperedges: int, width: int, parity: Callable[..., None]) -> None:
    parity(KERNEL, arguments(vertices, hyperedges, width), tolerance=(2e-5, 2e-5))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    vertices=st.integers(1, 45),
    hyperedges=st.integers(1, 20),
    width=st.integers(1, 20),
    examples=st.integers(1, 3),
    data=st.data(),
)
def test_any_shape(vertices: int, hyperedges: int, width: int, examples: int, data: st.DataObject) -> None:
    selected = data.draw(st.none() | st.integers(1, hyperedges))
    prototypes, x, chosen, _, _ = arguments(vertices, hyperedges, width, selected=selected, examples=examples)
    features, participation = soft_hyperedge(prototypes, x, chosen, nn.Dropout(0.0))
    assert _dispatch.taken()["soft_hyperedge"].path == "triton"
    for example in range(examples):
        rows = slice(None) if chosen is None else chosen[example]
        shares = torch.softmax(prototypes[example][rows].double() @ x[example].double().T, dim=1)
        torch.testing.assert_close(features[example].double(), shares @ x[example].double(), rtol=1e-5, atol=1e-5)
        back = participation.spread(features)[example].double()
        torch.testing.assert_close(back, shares.T @ features[example].double(), rtol=1e-5, atol=1e-5)


def test_large_similarities_do_not_overflow(parity: Callable[..., None]) -> None:
    prototypes, x, *others = arguments(40, 5, 8)
    parity(KERNEL, (prototypes.detach().mul(60).requires_grad_(), x, *others), tolerance=(1e-3, 1e-3))


def test_strides_do_not_matter(parity: Callable[..., None]) -> None:
    prototypes, x, chosen, factors, rate = arguments(9, 6, 8, selected=3)
    turned = [t.detach().mT.contiguous().mT.requires_grad_() for t in (prototypes, x)]
    assert not any(t.is_contiguous() for t in turned)
    parity(KERNEL, (*turned, chosen.T.contiguous().T, factors, rate))


def test_prototypes_that_are_not_selected_are_not_read() -> None:
    prototypes, x, chosen, factors, rate = arguments(9, 6, 8, selected=3)
    spoiled = prototypes.detach().clone()
    for example in range(2):
        others = [m for m in range(6) if m not in chosen[example].tolist()]
        spoiled[example, others] = float("nan")
    spoiled.requires_grad_()
    made = KERNEL.op(spoiled, x, chosen, factors, rate)
    for a, b in zip(made, KERNEL.op(prototypes, x, chosen, factors, rate), strict=True):
        assert torch.equal(a, b)
    (gradient,) = torch.autograd.grad(sum(t.sum() for t in made), spoiled)
    assert torch.isfinite(gradient).all()
    for example in range(2):
        others = [m for m in range(6) if m not in chosen[example].tolist()]
        assert not gradient[example, others].any()


def similarities_kept(seed: int, hyperedges: int, vertices: int, rate: float) -> Tensor:
    """Which similarities the kernel keeps: with prototypes 1 and vertices that are all 1 the rest have logit 0."""
    x = torch.eye(vertices)[None]
    prototypes = torch.full((1, hyperedges, vertices), 2.0)
    features, _ = module._gather(prototypes, x, None, torch.tensor([seed]), rate)
    return features[0] > features[0].mean(dim=1, keepdim=True)


def test_dropout_has_its_rate_and_no_pattern() -> None:
    kept = torch.stack([similarities_kept(seed, 24, 100, 0.3) for seed in range(4)]).double()
    number = kept.numel()
    assert abs(kept.mean() - 0.7) < 4 * (0.21 / number) ** 0.5
    # Along rows, along columns, and from one seed to the next: correlations of independent draws.
    for a, b in ((kept[:, :, :-1], kept[:, :, 1:]), (kept[:, :-1], kept[:, 1:]), (kept[:-1], kept[1:])):
        correlation = torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]
        assert abs(correlation) < 4 / a.numel() ** 0.5


def test_dropout_depends_on_the_seed_alone_and_not_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    first = similarities_kept(3, 20, 64, 0.4)
    assert not torch.equal(first, similarities_kept(4, 20, 64, 0.4))
    monkeypatch.setattr(launch, "tile", lambda *_: launch.Tile(16, 16, 64, 4, 1))
    assert torch.equal(first, similarities_kept(3, 20, 64, 0.4))


@pytest.mark.parametrize("selected", [None, 3])
def test_both_directions_and_the_backward_pass_drop_the_same(selected: int | None) -> None:
    """Values and gradients against the same numbers drawn in PyTorch operators, in float64."""
    prototypes, x, chosen, factors, _ = arguments(37, 7, 12, selected=selected)
    seed = torch.tensor([123456789012345])
    features, logs = module._gather(prototypes, x, chosen, seed, 0.4)
    messages = module._spread(prototypes, x, chosen, features * factors, logs, seed, 0.4)
    exact = [t.detach().double().requires_grad_() for t in (prototypes, x, factors)]
    right, right_logs = module._plain_gather(exact[0], exact[1], chosen, seed, 0.4)
    right_messages = module._plain_spread(exact[0], exact[1], chosen, right * exact[2], right_logs, seed, 0.4)
    torch.testing.assert_close(features.double(), right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(messages.double(), right_messages, rtol=1e-5, atol=1e-5)
    upstream = torch.randn(messages.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((messages * upstream).sum() + features.pow(2).sum(), (prototypes, x, factors))
    expected = torch.autograd.grad((right_messages * upstream.double()).sum() + right.pow(2).sum(), exact)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=2e-5)


def test_all_similarities_dropped_is_the_mean_of_the_vertices() -> None:
    prototypes, x, *_ = arguments(9, 4, 8)
    features, participation = soft_hyperedge(prototypes, x, None, nn.Dropout(1.0))
    torch.testing.assert_close(features, x.mean(dim=1, keepdim=True).expand(-1, 4, -1))
    torch.testing.assert_close(participation.spread(features), features.sum(dim=1, keepdim=True).expand(-1, 9, -1) / 9)


def test_the_global_seed_decides_and_evaluation_does_not_drop() -> None:
    prototypes, x, *_ = arguments(9, 4, 8)
    dropout = nn.Dropout(0.5)

    def run(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return soft_hyperedge(prototypes, x, None, dropout)[0]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))
    dropout.eval()
    assert torch.equal(run(0), run(1))


@pytest.mark.parametrize("options", [{}, {"top_k": 2, "fixed": 1}])
def test_the_layer_computes_the_same_with_the_kernels(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = SoftHyperedges(8, 6, heads=2, dropout=0.0, **options)
    x = torch.randn(3, 11, 8, requires_grad=True)

    def run() -> list[Tensor]:
        layer.zero_grad()
        y = layer(x)
        gradients = torch.autograd.grad(y.pow(2).sum(), [x, *layer.parameters()])
        return [y.detach(), *gradients]

    made = run()
    assert _dispatch.taken()["soft_hyperedge"].path == "triton"
    monkeypatch.setenv("HYPERTUNE_KERNELS", "reference")
    for a, b in zip(made, run(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_the_reference() -> None:
    prototypes, x, chosen, factors, rate = arguments(6, 4, 3, selected=2)
    exact = [t.detach().double().requires_grad_() for t in (prototypes, x, factors)]

    def second(values: list[Tensor], op: Callable[..., Any]) -> list[Tensor]:
        made = op(values[0], values[1], chosen, values[2], rate)
        first = torch.autograd.grad(sum(t.pow(3).sum() for t in made), values, create_graph=True)
        return list(torch.autograd.grad(sum(g.pow(2).sum() for g in first), values))

    right = second(exact, KERNEL.reference)
    for a, b in zip(second([prototypes, x, factors], KERNEL.op), right, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("broken", ["gather", "gather_backward", "spread", "spread_backward"])
def test_a_kernel_that_fails_falls_back_to_the_same_numbers(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also half-way: the mask of the forward kernels is drawn again by PyTorch operators."""
    prototypes, x, chosen, factors, _ = arguments(9, 5, 8, selected=3)

    def run() -> list[Tensor]:
        torch.manual_seed(0)
        made = KERNEL.op(prototypes, x, chosen, factors, 0.4)
        gradients = torch.autograd.grad(sum(t.pow(2).sum() for t in made), (prototypes, x, factors))
        return [*(t.detach() for t in made), *gradients]

    expected = run()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of resources")

    monkeypatch.setattr(launch, broken, fail)
    monkeypatch.setattr(_dispatch, "mode", lambda: "auto")
    monkeypatch.setattr(_dispatch, "_machine", lambda op, device: _dispatch._failed.get(op))
    _dispatch.forget()
    with pytest.warns(RuntimeWarning, match="'soft_hyperedge' does not run") as caught:
        made = run()
    assert len(caught) == 1
    for a, b in zip(made, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
