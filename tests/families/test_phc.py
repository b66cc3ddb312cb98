"""PH convolutions against the plain convolution with the assembled weight, in float64."""

import pytest
import torch
from torch import nn

from hypertune.errors import FamilyError
from hypertune.families.phnn import PHConv1d, PHConv2d, PHConv3d

PAIRS = {1: (PHConv1d, nn.Conv1d), 2: (PHConv2d, nn.Conv2d), 3: (PHConv3d, nn.Conv3d)}


def plain_twin(layer, plain, **options):
    twin = plain(layer.in_channels, layer.out_channels, bias=layer.bias is not None, dtype=torch.float64, **options)
    state = {"weight": layer.weight().detach()}
    if layer.bias is not None:
        state["bias"] = layer.bias.detach()
    twin.load_state_dict(state)
    return twin


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 2, "padding": "valid", "groups": 2},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2, "bias": False},
        {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
        {"kernel_size": 3, "padding": "same", "padding_mode": "reflect"},
        {"kernel_size": 3, "padding": 2, "stride": 2, "padding_mode": "replicate"},
    ],
)
def test_equals_the_plain_convolution_with_the_same_weight(axes, options):
    kind, plain = PAIRS[axes]
    layer = kind(2, 4, 8, **options, dtype=torch.float64)
    x = torch.randn(2, 4, *(7, 6, 5)[:axes], dtype=torch.float64)
    options = {name: value for name, value in options.items() if name != "bias"}
    torch.testing.assert_close(layer(x), plain_twin(layer, plain, **options)(x))


def test_sizes_per_axis():
    options = {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}
    layer = PHConv2d(2, 4, 6, **options, dtype=torch.float64)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain_twin(layer, nn.Conv2d, **options)(x))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_of_an_even_kernel_keeps_the_size_as_in_torch():
    layer = PHConv2d(2, 4, 4, (2, 4), padding="same", dtype=torch.float64)
    x = torch.randn(1, 4, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain_twin(layer, nn.Conv2d, kernel_size=(2, 4), padding="same")(x))
    assert layer(x).shape == x.shape


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_real_layer_is_the_plain_layer(axes, groups):
    kind, plain = PAIRS[axes]
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "groups": groups}
    layer, twin = kind(1, 4, 6, algebra="real", **options), plain(4, 6, **options)
    layer.load_state_dict({"F": twin.weight[None], "bias": twin.bias}, strict=False)
    x = torch.randn(2, 4, *(5,) * axes)
    assert torch.equal(layer(x), twin(x))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_complex_layer_is_torchs_complex_convolution(axes):
    kind = PAIRS[axes][0]
    weight = torch.randn(3, 2, *(3,) * axes, dtype=torch.complex128)
    z = torch.randn(2, 2, *(5,) * axes, dtype=torch.complex128)
    layer = kind(2, 4, 6, 3, bias=False, algebra="complex", dtype=torch.float64)
    with torch.no_grad():
        layer.F.copy_(torch.stack([weight.real, weight.imag]))
    convolution = getattr(torch.nn.functional, f"conv{axes}d")
    expected = convolution(z, weight)
    outputs = layer(torch.cat([z.real, z.imag], dim=1))
    torch.testing.assert_close(outputs, torch.cat([expected.real, expected.imag], dim=1))


def test_the_quaternion_layer_convolves_with_the_hamilton_product():
    """Each component from the definition of p q, with a real convolution in place of each real product."""
    layer = PHConv2d(4, 8, 12, 3, padding=1, algebra="quaternion", bias=False, dtype=torch.float64)
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)

    def times(f, q):
        return torch.nn.functional.conv2d(q, f, padding=1)

    a, b, c, d = layer.F
    e, f, g, h = x.chunk(4, dim=1)
    expected = [
        times(a, e) - times(b, f) - times(c, g) - times(d, h),
        times(a, f) + times(b, e) + times(c, h) - times(d, g),
        times(a, g) - times(b, h) + times(c, e) + times(d, f),
        times(a, h) + times(b, g) - times(c, f) + times(d, e),
    ]
    torch.testing.assert_close(layer(x), torch.cat(expected, dim=1))


def test_groups_are_smaller_layers_side_by_side():
    layer = PHConv1d(2, 8, 12, 3, groups=2, dtype=torch.float64)
    x = torch.randn(2, 8, 9, dtype=torch.float64)
    outputs = []
    for group, part in enumerate(x.chunk(2, dim=1)):
        small = PHConv1d(2, 4, 6, 3, dtype=torch.float64)
        with torch.no_grad():
            small.A.copy_(layer.A)
            small.F.copy_(layer.F.chunk(2, dim=1)[group])
            small.bias.copy_(layer.bias.chunk(2)[group])
        outputs.append(small(part))
    torch.testing.assert_close(layer(x), torch.cat(outputs, dim=1))


@pytest.mark.parametrize(("axes", "n", "groups"), [(1, 2, 1), (2, 4, 1), (2, 2, 2), (3, 4, 2)])
@pytest.mark.parametrize("learned", [True, False])
def test_parameter_count(axes, n, groups, learned):
    algebra = "learned" if learned else torch.randn(n, n, n)
    layer = PAIRS[axes][0](n, 16, 8, 3, groups=groups, algebra=algebra)
    expected = learned * n**3 + 8 * 16 // groups * 3**axes // n + 8
    assert sum(parameter.numel() for parameter in layer.parameters()) == expected


def test_initial_weight_is_distributed_as_the_plain_layers():
    layer, plain = PHConv2d(4, 32, 64, 3, groups=2), nn.Conv2d(32, 64, 3, groups=2)
    # Uniform on +-1/sqrt(fan_in): 2,304 independent entries, so 5 standard errors of the variance are 9%.
    assert layer.weight().var().item() == pytest.approx(1 / (3 * 16 * 9), rel=0.09)
    assert plain.weight.var().item() == pytest.approx(1 / (3 * 16 * 9), rel=0.09)


def test_an_n_that_does_not_divide_a_group_names_what_would():
    with pytest.raises(FamilyError) as caught:
        PHConv2d(4, 8, 20, 3, groups=2)
    assert "n = 4 does not divide out_channels = 20 in 2 groups" in str(caught.value)
    assert "16 or 24" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size"),
        ({"kernel_size": 3, "stride": 0}, "stride"),
        ({"kernel_size": 3, "dilation": (1, 0)}, "dilation"),
        ({"kernel_size": 3, "padding": -1}, "padding"),
        ({"kernel_size": 3, "padding": "sama"}, "padding"),
        ({"kernel_size": 3, "padding": "same", "stride": 2}, "padding"),
        ({"kernel_size": 3, "padding_mode": "mirror"}, "padding_mode"),
        ({"kernel_size": 3, "groups": 0}, "groups"),
    ],
)
def test_wrong_arguments_are_named(options, where):
    with pytest.raises(FamilyError) as caught:
        PHConv2d(2, 4, 4, **options)
    assert caught.value.where == f"family.{where}"


def test_repr_shows_the_sizes():
    assert "n=2, in_channels=4, out_channels=6, kernel_size=(3,)" in repr(PHConv1d(2, 4, 6, 3))
