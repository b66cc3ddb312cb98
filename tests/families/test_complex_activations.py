from __future__ import annotations

import cmath
import math

import pytest
import torch

from hypertune.errors import FamilyError
from hypertune.families._complex_activations import COMPLEX_ACTIVATIONS, ModReLU, complex_activation

# By their definitions, with Python's complex numbers.
DEFINITIONS = {
    "crelu": lambda z: complex(max(z.real, 0), max(z.imag, 0)),
    "zrelu": lambda z: z if 0 <= cmath.phase(z) <= math.pi / 2 else 0,
    "modrelu": lambda z: max(abs(z) - 0.1, 0) * cmath.exp(1j * cmath.phase(z)),
    "cardioid": lambda z: 0.5 * (1 + math.cos(cmath.phase(z))) * z,
    "ctanh": lambda z: complex(math.tanh(z.real), math.tanh(z.imag)),
    "modtanh": lambda z: math.tanh(abs(z)) * cmath.exp(1j * cmath.phase(z)),
    "csigmoid": lambda z: complex(1 / (1 + math.exp(-z.real)), 1 / (1 + math.exp(-z.imag))),
}
KEEP_PHASE = ["modrelu", "modtanh"]


def make(name, channels=3):
    layer = complex_activation(name, channels)
    return layer.double() if name == "modrelu" else layer


def test_each_is_defined_here():
    assert set(DEFINITIONS) == set(COMPLEX_ACTIVATIONS)


@pytest.mark.parametrize("name", COMPLEX_ACTIVATIONS)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 4, 2)])
def test_equals_its_definition(name, shape):
    z = torch.randn(shape, dtype=torch.complex128)
    expected = torch.tensor([DEFINITIONS[name](value) for value in z.flatten().tolist()], dtype=torch.complex128)
    torch.testing.assert_close(make(name)(z).flatten(), expected)


@pytest.mark.parametrize("name", COMPLEX_ACTIVATIONS)
def test_gradients(name):
    z = torch.randn(3, 3, dtype=torch.complex128)
    z = (z + 0.2 * z / z.abs()).requires_grad_()  # away from the kinks
    assert torch.autograd.gradcheck(make(name), (z,), fast_mode=True)


@pytest.mark.parametrize("name", COMPLEX_ACTIVATIONS)
def test_zero_has_a_finite_value_and_gradient(name):
    z = torch.zeros(2, 3, dtype=torch.complex64, requires_grad=True)
    y = complex_activation(name, 3)(z)
    y.real.sum().backward()
    assert torch.isfinite(torch.view_as_real(y)).all()
    assert torch.isfinite(torch.view_as_real(z.grad)).all()
    assert y.dtype == torch.complex64


@pytest.mark.parametrize("name", KEEP_PHASE)
def test_some_commute_with_rotation(name):
    layer, z = make(name), torch.randn(5, 3, dtype=torch.complex128)
    turn = cmath.exp(0.7j)
    torch.testing.assert_close(layer(turn * z), turn * layer(z))


def test_modrelu_learns_a_bias_per_channel():
    layer = ModReLU(2, start=-1.0)
    z = torch.full((1, 2, 1), 2 + 0j, requires_grad=True)
    torch.testing.assert_close(layer(z), torch.full((1, 2, 1), 1 + 0j))
    layer(z).real.sum().backward()
    assert layer.bias.grad.tolist() == [1, 1]


@pytest.mark.parametrize("name", COMPLEX_ACTIVATIONS)
def test_real_inputs_are_refused(name):
    with pytest.raises(FamilyError, match="takes complex inputs"):
        complex_activation(name, 3)(torch.randn(2, 3))


def test_an_unknown_name_is_refused():
    with pytest.raises(FamilyError, match="did you mean 'crelu'"):
        complex_activation("creluu", 3)
