from __future__ import annotations

import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.families._complex_layers import KINDS
from hypertune.families.cmusenet import FAMILY
from hypertune.families.contract import build_model
from hypertune.records import TaskSpec

BINS = TaskSpec("bins", "regression", (1, 64), 64, "complex64")


def numbers(model):
    return sum(weight.numel() * (2 if weight.is_complex() else 1) for weight in model.parameters())


@pytest.mark.parametrize(("kind", "dtype"), [("complex", torch.complex64), ("real", torch.float32)])
def test_one_output_per_bin(kind, dtype):
    outputs = build_model(FAMILY, {"kind": kind}, BINS)(torch.randn(3, 1, 64, dtype=torch.complex64))
    assert outputs.shape == (3, 64)
    assert outputs.dtype == dtype


@pytest.mark.parametrize("width", [12, 16, 32])
def test_the_real_twin_has_half_the_numbers_and_the_doubled_one_as_many(width):
    sizes = {kind: numbers(build_model(FAMILY, {"kind": kind, "width": width}, BINS)) for kind in KINDS}
    assert sizes["real"] / sizes["complex"] == pytest.approx(0.5, abs=0.03)
    assert sizes["real_doubled"] / sizes["complex"] == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("kind", ["complex", "real"])
def test_a_bin_sees_as_far_as_it_says(kind):
    """Depth d and a stem of k bins: k - 1 + 2**(d + 2) - 4 others."""
    spec = TaskSpec("bins", "regression", (1, 129), 129, "complex64")
    model = build_model(FAMILY, {"kind": kind, "depth": 2, "kernel_size": 5, "activation": "ctanh"}, spec).eval()
    x = torch.randn(1, 1, 129, dtype=torch.complex64, requires_grad=True)
    model(x)[0, 64].abs().backward()
    seen = x.grad[0, 0].abs().nonzero().flatten()
    assert len(seen) <= 1 + 4 + 12
    assert (seen.min().item(), seen.max().item()) == (64 - 8, 64 + 8)


def test_a_shifted_spectrum_has_shifted_labels():
    model = build_model(FAMILY, {"depth": 2}, BINS).eval()
    x = torch.zeros(1, 1, 64, dtype=torch.complex64)
    x[..., 20:30] = torch.randn(10, dtype=torch.complex64)
    shifted = model(x.roll(6, dims=-1))[:, 16:54]
    torch.testing.assert_close(shifted, model(x).roll(6, dims=-1)[:, 16:54])


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec("t", "classification", (1, 64), 64, "complex64"),
        TaskSpec("t", "regression", (1, 64), 63, "complex64"),
        TaskSpec("t", "regression", (1, 8, 8), 64, "complex64"),
    ],
)
def test_other_tasks_are_refused(spec):
    with pytest.raises(FamilyError, match="labels every bin"):
        build_model(FAMILY, {}, spec)


def test_real_inputs_are_refused():
    with pytest.raises(FamilyError, match="cmusenet computes with complex numbers"):
        build_model(FAMILY, {}, TaskSpec("t", "regression", (1, 64), 64))
    model = build_model(FAMILY, {}, BINS)
    with pytest.raises(FamilyError, match=r"torch.complex\(real, imag\)"):
        model(torch.randn(2, 1, 64))


@pytest.mark.parametrize(("params", "where"), [({"kernel_size": 6}, "kernel_size"), ({"dropout": -0.1}, "dropout")])
def test_wrong_hyperparameters_are_named(params, where):
    with pytest.raises(FamilyError) as caught:
        build_model(FAMILY, params, BINS)
    assert caught.value.where == f"family.{where}"


def test_exports():
    model = build_model(FAMILY, {"width": 4, "depth": 1}, BINS).eval()
    x = torch.randn(2, 1, 64, dtype=torch.complex64)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
