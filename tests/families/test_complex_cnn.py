from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families._complex_layers import KINDS
from hypertune.families.cnn import FAMILY as CNN
from hypertune.families.complex_cnn import FAMILY, ComplexBatchNorm, ComplexConv2d, ComplexDropout, ModReLU
from hypertune.families.contract import build_model
from hypertune.families.mlp import FAMILY as MLP
from hypertune.records import TaskSpec

IMAGES = TaskSpec("spectra", "classification", (1, 8, 8), 10, "complex64")
SIGNALS = TaskSpec("baseband", "classification", (2, 40), 3, "complex64")


def numbers(model):
    """Count real numbers: a complex parameter has two."""
    return sum(weight.numel() * (2 if weight.is_complex() else 1) for weight in model.parameters())


def inputs(spec, n=4):
    return torch.randn(n, *spec.input_shape, dtype=torch.complex64)


@pytest.mark.parametrize("spec", [IMAGES, SIGNALS])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_real(kind, spec):
    outputs = build_model(FAMILY, {"kind": kind}, spec)(inputs(spec))
    assert outputs.shape == (4, spec.output_size)
    assert outputs.dtype == torch.float32


@pytest.mark.parametrize("spec", [IMAGES, SIGNALS])
@pytest.mark.parametrize("width", [12, 16, 32])
def test_the_real_twin_has_half_the_numbers_and_the_doubled_one_as_many(spec, width):
    sizes = {kind: numbers(build_model(FAMILY, {"kind": kind, "width": width}, spec).stages) for kind in KINDS}
    assert sizes["real"] / sizes["complex"] == pytest.approx(0.5, abs=0.03)
    assert sizes["real_doubled"] / sizes["complex"] == pytest.approx(1, abs=0.08)


def test_parameter_count_from_the_formula():
    """Width 4, one stage: stem 1->4, block of two 4->4, 3 x 3; norms with 3 scales and a complex bias; grid of 4 x 4."""
    model = build_model(FAMILY, {"width": 4, "depth": 1}, IMAGES)
    norm = 4 * (3 + 2)
    assert numbers(model) == 2 * 9 * 4 + norm + 2 * (2 * 9 * 16 + norm) + 4 * 16 * 10 + 10


def test_real_twins_have_no_complex_parameter():
    for kind in ("real", "real_doubled"):
        model = build_model(FAMILY, {"kind": kind}, IMAGES)
        assert not any(weight.is_complex() for weight in model.parameters())
        assert any(isinstance(module, nn.ReLU) for module in model.modules())


@pytest.mark.parametrize("head", ["modulus", "parts"])
def test_a_global_phase_is_seen_by_the_right_heads_alone(head):
    """With modReLU and without affine shifts the network commutes with rotation."""
    model = build_model(FAMILY, {"activation": "modrelu", "head": head, "norm": "layer"}, IMAGES).eval()
    for module in model.modules():
        if hasattr(module, "affine"):
            module.affine, module.weight, module.bias = False, None, None
    x = inputs(IMAGES)
    same = torch.allclose(model(x), model(x * 1j), atol=1e-4)
    assert same == (head == "modulus")


@pytest.mark.parametrize("kind", KINDS)
def test_real_inputs_are_refused_with_the_way_to_convert_them(kind):
    model = build_model(FAMILY, {"kind": kind}, IMAGES)
    with pytest.raises(FamilyError, match=r"torch.complex\(real, imag\)"):
        model(torch.randn(2, 1, 8, 8))


def test_tasks_of_real_inputs_are_refused_when_built():
    with pytest.raises(FamilyError, match="complex_cnn computes with complex numbers") as caught:
        build_model(FAMILY, {}, TaskSpec("digits", "classification", (1, 8, 8), 10))
    assert "torch.fft.fft2" in str(caught.value)


@pytest.mark.parametrize("family", [CNN, MLP])
def test_real_families_refuse_tasks_of_complex_inputs(family):
    with pytest.raises(FamilyError, match="computes with real numbers") as caught:
        build_model(family, {}, IMAGES)
    assert "complex_cnn" in str(caught.value)


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ({"kind": "quaternion"}, "kind"),
        ({"width": 0}, "width"),
        ({"depth": 1.5}, "depth"),
        ({"kernel_size": 4}, "kernel_size"),
        ({"activation": "relu"}, "activation"),
        ({"norm": "group"}, "norm"),
        ({"init": "xavier"}, "init"),
        ({"head": "phase"}, "head"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_wrong_hyperparameters_are_named(params, where):
    with pytest.raises(FamilyError) as caught:
        build_model(FAMILY, params, IMAGES)
    assert caught.value.where == f"family.{where}"


def test_flat_inputs_are_refused():
    with pytest.raises(FamilyError, match="needs channels and space"):
        build_model(FAMILY, {}, TaskSpec("table", "classification", (5,), 3, "complex64"))


def test_dropout_is_bound_by_its_rate():
    model = build_model(FAMILY, {"dropout": 0.3}, IMAGES)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.3]
    assert any(isinstance(module, ComplexDropout) for module in model.modules())


@pytest.mark.parametrize("activation", ["crelu", "modrelu", "cardioid"])
def test_autocast_keeps_complex_layers_in_full_precision(activation):
    model = build_model(FAMILY, {"activation": activation}, IMAGES).eval()
    x = inputs(IMAGES)
    plain = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = model(x)
    assert reduced.dtype == torch.bfloat16  # the real head
    torch.testing.assert_close(reduced.float(), plain, rtol=0.02, atol=0.02)


def test_trains_on_spectra_of_lines():
    """Horizontal or vertical waves: which of the two is told within a few steps."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (64,), generator=generator)
    waves = torch.sin(torch.arange(8) * torch.rand(64, 1, generator=generator) * 2 + 1)
    images = torch.where(y.reshape(-1, 1, 1) == 0, waves[:, None, :], waves[:, :, None]).expand(-1, 8, 8)
    x = torch.fft.fft2(images)[:, None]
    model = build_model(
        FAMILY, {"width": 4, "depth": 1}, TaskSpec("waves", "classification", (1, 8, 8), 2, "complex64")
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(x).argmax(dim=1) == y).float().mean() > 0.9
    copied = copy.deepcopy(model).eval()
    assert torch.equal(copied(x), model.eval()(x))


def test_exports():
    model = build_model(FAMILY, {"width": 4, "depth": 1}, IMAGES).eval()
    x = inputs(IMAGES)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))


def test_layers_compile_in_one_graph():
    model = nn.Sequential(ComplexConv2d(1, 3, 3), ComplexBatchNorm(3), ModReLU(3))
    twin = copy.deepcopy(model)
    x = inputs(IMAGES)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), twin(x))
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, dict(twin.named_buffers())[name])


def test_layers_are_public():
    assert ComplexConv2d(2, 3, 3)(torch.randn(1, 2, 5, 5, dtype=torch.complex64)).shape == (1, 3, 3, 3)
