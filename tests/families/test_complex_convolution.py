"""Complex convolutions against torch's own complex arithmetic in complex128, and against loops."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.nn import functional

from hypertune.errors import FamilyError
from hypertune.families import _complex_arithmetic
from hypertune.families._complex_convolution import (
    ComplexConv1d,
    ComplexConv2d,
    ComplexConv3d,
    ComplexConvTranspose1d,
    ComplexConvTranspose2d,
    ComplexConvTranspose3d,
)

CONVOLUTIONS = {
    1: (ComplexConv1d, functional.conv1d, (9,)),
    2: (ComplexConv2d, functional.conv2d, (7, 6)),
    3: (ComplexConv3d, functional.conv3d, (5, 6, 4)),
}
TRANSPOSED = {
    1: (ComplexConvTranspose1d, functional.conv_transpose1d, (9,)),
    2: (ComplexConvTranspose2d, functional.conv_transpose2d, (5, 4)),
    3: (ComplexConvTranspose3d, functional.conv_transpose3d, (3, 4, 2)),
}
OPTIONS = [
    {},
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2, "bias": False},
    {"groups": 2, "padding": 1},
    {"groups": 4, "stride": 2},
]


def filled(layer):
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


@pytest.fixture(params=["three products", "stacked parts"])
def form(request, monkeypatch):
    """Force either way of computing, whatever the shape."""
    few = 0 if request.param == "three products" else 10**9
    monkeypatch.setattr(_complex_arithmetic, "_FEW_PRODUCTS", few)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("axes", CONVOLUTIONS)
@pytest.mark.parametrize("options", OPTIONS)
def test_equals_complex_arithmetic(axes, options):
    kind, reference, space = CONVOLUTIONS[axes]
    layer = filled(kind(4, 8, 3, dtype=torch.complex128, **options))
    x = torch.randn(2, 4, *space, dtype=torch.complex128)
    passed = {key: value for key, value in options.items() if key != "bias"}
    torch.testing.assert_close(layer(x), reference(x, layer.weight, layer.bias, **passed))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("axes", TRANSPOSED)
@pytest.mark.parametrize("options", [*OPTIONS, {"stride": 3, "output_padding": 1, "padding": 1}])
def test_transposed_equals_complex_arithmetic(axes, options):
    kind, reference, space = TRANSPOSED[axes]
    layer = filled(kind(4, 8, 3, dtype=torch.complex128, **options))
    x = torch.randn(2, 4, *space, dtype=torch.complex128)
    passed = {key: value for key, value in options.items() if key != "bias"}
    torch.testing.assert_close(layer(x), reference(x, layer.weight, layer.bias, **passed))


@pytest.mark.usefixtures("form")
def test_equals_the_definition():
    """By loops and Python's complex numbers: no complex kernel of torch is in it."""
    layer = filled(ComplexConv1d(2, 3, 2, stride=2, dtype=torch.complex128))
    x = torch.randn(1, 2, 6, dtype=torch.complex128)
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    signal = x[0].tolist()
    expected = [
        [bias[o] + sum(weight[o][i][k] * signal[i][2 * t + k] for i in range(2) for k in range(2)) for t in range(3)]
        for o in range(3)
    ]
    torch.testing.assert_close(layer(x)[0], torch.tensor(expected, dtype=torch.complex128))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, "same"])
def test_padding_modes(mode, padding):
    """As real convolutions of each part pad: padding is linear."""
    layer = filled(ComplexConv2d(3, 2, 3, padding=padding, padding_mode=mode, dtype=torch.complex128))
    real = torch.nn.Conv2d(3, 2, 3, padding=padding, padding_mode=mode, bias=False, dtype=torch.float64)
    imag = copy.deepcopy(real)
    with torch.no_grad():
        real.weight.copy_(layer.weight.real)
        imag.weight.copy_(layer.weight.imag)
    x = torch.randn(2, 3, 5, 6, dtype=torch.complex128)
    expected = torch.complex(real(x.real) - imag(x.imag), real(x.imag) + imag(x.real))
    torch.testing.assert_close(layer(x), expected + layer.bias.reshape(-1, 1, 1))


def test_transposed_is_the_transpose_of_the_matrix():
    """``<conv(x), y> == <x, transposed(y)>`` for the bilinear product."""
    forward = ComplexConv1d(2, 3, 3, stride=2, padding=1, bias=False, dtype=torch.complex128)
    back = ComplexConvTranspose1d(3, 2, 3, stride=2, padding=1, bias=False, dtype=torch.complex128)
    with torch.no_grad():
        back.weight.copy_(forward.weight)
    x, y = (torch.randn(shape, dtype=torch.complex128) for shape in ((1, 2, 9), (1, 3, 5)))
    torch.testing.assert_close((forward(x) * y).sum(), (x * back(y)).sum())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own forward mode
@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(("kind", "space"), [(ComplexConv2d, (2, 3)), (ComplexConvTranspose1d, (3,))])
def test_gradients(kind, space):
    layer = kind(2, 2, 2, padding=1, dtype=torch.complex128)
    x = torch.randn(1, 2, *space, dtype=torch.complex128, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, (x, layer.weight, layer.bias), fast_mode=True)


@pytest.mark.parametrize("form_", [0, 10**9])
def test_single_precision_is_as_exact_as_torchs_own(form_, monkeypatch):
    monkeypatch.setattr(_complex_arithmetic, "_FEW_PRODUCTS", form_)
    layer = ComplexConv1d(32, 16, 5, bias=False)
    x = torch.randn(4, 32, 40, dtype=torch.complex64)
    exact = functional.conv1d(x.to(torch.complex128), layer.weight.to(torch.complex128))
    error = (layer(x) - exact).abs().max() / exact.abs().max()
    assert error < 2e-6


def test_stays_complex64_under_autocast():
    layer, x = ComplexConv2d(2, 3, 3), torch.randn(1, 2, 5, 5, dtype=torch.complex64)
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.complex64
    assert torch.equal(made, layer(x))


@pytest.mark.parametrize("layer", [ComplexConv2d(2, 4, 3, groups=2), ComplexConvTranspose1d(2, 4, 3)])
def test_state_dict_copies_and_pickles(layer):
    x = torch.randn(1, 2, *(5,) * layer.spatial, dtype=torch.complex64)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = type(layer)(2, 4, 3, groups=layer.groups)
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(torch.load(file, weights_only=True))
    for made in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(made(x), layer(x))


def test_initial_outputs_have_the_variance_of_the_inputs_halved_by_crelu():
    """He: E|y|^2 = 2 E|x|^2, of which CReLU keeps half."""
    layer = ComplexConv1d(16, 256, 5, init="he", bias=False)
    x = torch.randn(8, 16, 64, dtype=torch.complex64)
    assert layer(x).abs().square().mean().item() == pytest.approx(2, rel=0.05)


def test_fans_count_groups():
    layer = ComplexConv2d(16, 512, (3, 1), groups=4, init="glorot")
    assert layer.weight.abs().square().mean().item() == pytest.approx(2 / (4 * 3 + 128 * 3), rel=0.05)


@pytest.mark.parametrize("kind", [ComplexConv1d, ComplexConvTranspose1d])
def test_real_inputs_are_refused_with_the_way_to_convert_them(kind):
    with pytest.raises(FamilyError, match=r"x.to\(torch.complex64\)"):
        kind(2, 3, 3)(torch.randn(1, 2, 9))


@pytest.mark.parametrize("shape", [(1, 3, 9), (2, 9), (1, 2, 9, 9)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(FamilyError, match=r"expected \(batch, 2, size\)"):
        ComplexConv1d(2, 3, 3)(torch.randn(shape, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"kernel_size": (3, 3, 3)}, FamilyError),
        ({"kernel_size": 3, "stride": (1,)}, FamilyError),
        ({"kernel_size": 3, "init": "hee"}, FamilyError),
        ({"kernel_size": 3, "groups": 3}, ValueError),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, ValueError),
        ({"kernel_size": 3, "padding_mode": "mirror"}, ValueError),
    ],
)
def test_wrong_arguments_are_refused_when_built(options, error):
    with pytest.raises(error):
        ComplexConv2d(2, 4, **options)


def test_repr_is_torchs():
    assert "2, 4, kernel_size=(3,), stride=(2,)" in repr(ComplexConv1d(2, 4, 3, 2))
