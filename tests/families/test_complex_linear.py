from __future__ import annotations

import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.families._complex_linear import ComplexLinear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(5,), (2, 3)])
def test_equals_the_product_of_its_parts(bias, batch):
    layer = ComplexLinear(4, 6, bias, dtype=torch.complex128)
    if bias:
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(*batch, 4, dtype=torch.complex128)
    w = layer.weight
    real = x.real @ w.real.T - x.imag @ w.imag.T
    imag = x.real @ w.imag.T + x.imag @ w.real.T
    expected = torch.complex(real, imag) + (layer.bias if bias else 0)
    torch.testing.assert_close(layer(x), expected)


def test_is_linear_over_the_complex_numbers():
    layer = ComplexLinear(4, 6, bias=False, dtype=torch.complex128)
    x = torch.randn(3, 4, dtype=torch.complex128)
    torch.testing.assert_close(layer((2 - 3j) * x), (2 - 3j) * layer(x))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own forward mode
def test_gradients():
    layer = ComplexLinear(3, 2, dtype=torch.complex128)
    x = torch.randn(2, 3, dtype=torch.complex128, requires_grad=True)

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias), check_forward_ad=True)


def test_stays_complex64_under_autocast():
    layer, x = ComplexLinear(4, 6), torch.randn(3, 4, dtype=torch.complex64)
    with torch.autocast("cpu", torch.bfloat16):
        made = layer(x)
    assert made.dtype == torch.complex64
    assert torch.equal(made, layer(x))


def test_real_inputs_are_refused_with_the_way_to_convert_them():
    with pytest.raises(FamilyError, match=r"torch.complex\(real, imag\)") as caught:
        ComplexLinear(4, 6)(torch.randn(3, 4))
    assert caught.value.where == "model.inputs"


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)])
def test_empty_layers_are_refused(sizes):
    with pytest.raises(FamilyError, match="not a size"):
        ComplexLinear(*sizes)


def test_repr_shows_the_sizes():
    assert repr(ComplexLinear(4, 6)) == "ComplexLinear(in_features=4, out_features=6, bias=True)"
