"""PHM against plain layers, the Kronecker product and products by definition, in float64."""

import math

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families.phnn import PHMLinear
from hypertune.kernels.phm_weight import phm_weight


def hamilton_by_definition(p, q):
    a, b, c, d = p
    e, f, g, h = q
    return torch.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def with_filters(layer, F):
    with torch.no_grad():
        layer.F.copy_(F)
    return layer


@pytest.mark.parametrize("kernel", [(), (3,), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_weight_is_the_sum_of_kronecker_products(n, groups, kernel):
    A = torch.randn(n, n, n, dtype=torch.float64)
    F = torch.randn(n, groups * 2, 3, *kernel, dtype=torch.float64)
    blocks = []
    for group in F.chunk(groups, dim=1):
        ones = (1,) * len(kernel)
        blocks.append(sum(torch.kron(A[i].reshape(n, n, *ones), group[i]) for i in range(n)))
    torch.testing.assert_close(phm_weight(A, F, groups), torch.cat(blocks))


def test_the_real_layer_is_the_plain_layer():
    layer, plain = PHMLinear(1, 5, 7, algebra="real"), nn.Linear(5, 7)
    layer.load_state_dict({"F": plain.weight[None], "bias": plain.bias}, strict=False)
    x = torch.randn(2, 3, 5)
    assert torch.equal(layer(x), plain(x))


def test_the_complex_layer_is_complex_multiplication():
    weight = torch.randn(3, 4, dtype=torch.complex128)
    z = torch.randn(6, 4, dtype=torch.complex128)
    layer = PHMLinear(2, 8, 6, bias=False, algebra="complex", dtype=torch.float64)
    with_filters(layer, torch.stack([weight.real, weight.imag]))
    expected = z @ weight.T
    outputs = layer(torch.cat([z.real, z.imag], dim=1))
    torch.testing.assert_close(outputs, torch.cat([expected.real, expected.imag], dim=1))


def test_the_quaternion_layer_is_the_hamilton_product():
    parts = torch.randn(4, 3, 5, dtype=torch.float64)  # a 3 x 5 matrix of quaternions
    x = torch.randn(4, 5, dtype=torch.float64)  # 5 quaternions
    layer = with_filters(PHMLinear(4, 20, 12, bias=False, algebra="quaternion", dtype=torch.float64), parts)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    for row in range(3):
        for column in range(5):
            expected[:, row] += hamilton_by_definition(parts[:, row, column], x[:, column])
    torch.testing.assert_close(layer(x.flatten()), expected.flatten())


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 3, 5), (2, 6, 4), (4, 8, 12), (3, 9, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_parameter_count(n, inputs, outputs, bias):
    layer = PHMLinear(n, inputs, outputs, bias)
    expected = n**3 + inputs * outputs // n + (outputs if bias else 0)
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected


def test_gradients_of_the_weight():
    A = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
    F = torch.randn(3, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, f: phm_weight(a, f, 2), (A, F))


def test_bias_is_added():
    layer = PHMLinear(2, 4, 6)
    before = layer(torch.ones(1, 4))
    with torch.no_grad():
        layer.bias += 1
    torch.testing.assert_close(layer(torch.ones(1, 4)), before + 1)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_initial_weight_is_distributed_as_the_plain_layers(n):
    layer, bound = PHMLinear(n, 128, 256), 1 / math.sqrt(128)
    weight = layer.weight().detach()
    assert weight.abs().max() <= bound
    # A uniform variable on +-b has variance b^2 / 3; the sample has 128 * 256 / n independent entries.
    tolerance = 5 * math.sqrt(0.8 / (128 * 256 / n))
    assert weight.var().item() == pytest.approx(bound**2 / 3, rel=tolerance)
    assert nn.Linear(128, 256).weight.var().item() == pytest.approx(bound**2 / 3, rel=tolerance)
    assert layer.bias.abs().max() <= bound


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_initial_rules_are_orthogonal_and_each_entry_has_one(n):
    A = PHMLinear(n, n, n).A.detach()
    torch.testing.assert_close(A.flatten(1) @ A.flatten(1).T, n * torch.eye(n))
    torch.testing.assert_close(A.square().sum(dim=0), torch.ones(n, n))


def test_same_seed_gives_the_same_layer_and_another_seed_another():
    layers = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        layers.append(PHMLinear(4, 8, 8).weight())
    assert torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[0], layers[2])


def test_an_n_that_does_not_divide_names_what_would():
    with pytest.raises(FamilyError) as caught:
        PHMLinear(4, 8, 18)
    message = str(caught.value)
    assert message.startswith("family.n:")
    for part in ("4", "out_features = 18", "16 or 20"):
        assert part in message


def test_below_n_only_n_works():
    with pytest.raises(FamilyError, match="change in_features to 4"):
        PHMLinear(4, 3, 8)


@pytest.mark.parametrize("sizes", [(0, 4, 4), (2, 0, 4), (2, 4, -2), (2.0, 4, 4), (True, 4, 4)])
def test_sizes_that_are_none(sizes):
    with pytest.raises(FamilyError, match="not a size"):
        PHMLinear(*sizes)


def test_repr_shows_the_sizes():
    assert "n=2, in_features=4, out_features=6, bias=True" in repr(PHMLinear(2, 4, 6))
