from __future__ import annotations

import math

import numpy as np
import pytest

from hypertune.bounds.activation_interpolation import activation_interpolation
from hypertune.errors import BoundError, ConfigError


def components(s: int, k: int, d: int) -> int:
    return sum(math.comb(s, j) * 4**j for j in range(min(s, k) + 1)) * d * (2 * d - 1) ** (k - 1)


def test_known_value():
    # 64-32-10 on 1,797 digits, relu and hardtanh: 2,410 weights.
    bound = activation_interpolation(64, [32], 10, 1797)
    assert round(bound.log2) == 50_468
    assert bound.value == math.inf
    assert "2410 weights" in bound.statement


@pytest.mark.parametrize("outputs", [1, 3])
def test_two_layers_against_whole_numbers(outputs):
    # Widths 2-3-2, T = 5, relu with hardtanh: b = 3, degrees 1, 3, 5.
    t, b = 5, 3
    w1, w2 = 3 * 3, 3 * 3 + 4 * 2
    w = w2 + 3 * outputs
    s1, s2 = t * 3 * b, t * 2 * b
    regions = components(s1, w1 + 1, 1) * components(s2, w2 + 1, 3)
    pairs = {1: 1, 3: 3}[outputs]
    expected = 2 * regions * components(s1 + s2 + t * pairs, w + 1, 5)
    assert activation_interpolation(2, [3, 2], outputs, t).log2 == pytest.approx(math.log2(expected), rel=1e-12)


def test_squared_error_against_whole_numbers():
    # 1-1-1, T = 2, relu and square: one breakpoint, degree 2; outputs of degree 4, squared error of degree 8.
    expected = 2 * components(2, 3, 1) * components(2 + 1, 5, 8)
    bound = activation_interpolation(1, [1], 1, 2, first="relu", second="square", objective="squared error")
    assert bound.log2 == pytest.approx(math.log2(expected), rel=1e-12)


def test_shared_breakpoints_count_once():
    both = activation_interpolation(2, [3], 2, 5, first="relu", second="abs")
    assert both.log2 == activation_interpolation(2, [3], 2, 5, first="relu", second="relu").log2
    assert both.log2 < activation_interpolation(2, [3], 2, 5, first="relu", second="relu6").log2


def test_order_of_the_activations_does_not_matter():
    one = activation_interpolation(2, [3], 2, 5, first="hardtanh", second="hardswish")
    assert one.log2 == activation_interpolation(2, [3], 2, 5, first="hardswish", second="hardtanh").log2


def test_no_breakpoints_make_no_regions():
    bound = activation_interpolation(1, [1], 1, 1, first="identity", second="square", objective="squared error")
    assert bound.log2 == pytest.approx(math.log2(2 * components(1, 5, 8)), rel=1e-12)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "gelu", "silu", "softplus", "elu"])
def test_smooth_activations_are_refused(name):
    with pytest.raises(BoundError, match="not piecewise polynomial") as caught:
        activation_interpolation(4, [3], 2, 10, second=name)
    assert "held-out tasks" in str(caught.value)


@pytest.mark.parametrize("objective", ["cross entropy", "softmax", "log loss"])
def test_objectives_with_exponentials_are_refused(objective):
    with pytest.raises(BoundError, match="does not cover this objective"):
        activation_interpolation(4, [3], 2, 10, objective=objective)


def test_unknown_activations_are_named():
    with pytest.raises(BoundError, match="did you mean 'hardtanh'"):
        activation_interpolation(4, [3], 2, 10, second="hardtan")


@pytest.mark.parametrize("call", [{"inputs": 0}, {"hidden": [0]}, {"outputs": 0}, {"examples": 0}])
def test_sizes_out_of_range_are_refused(call):
    with pytest.raises(ConfigError, match="whole number"):
        activation_interpolation(**{"inputs": 2, "hidden": [2], "outputs": 2, "examples": 2, **call})


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(BoundError, match="no activation to mix"):
        activation_interpolation(2, [], 2, 2)


@pytest.mark.parametrize("seed", range(3))
def test_real_optima_swing_less_often(seed):
    # One input, one unit without the output bias: the optimum over a grid of weights, for 200 mixing weights.
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=6), rng.integers(0, 2, 6)
    grid = np.linspace(-3, 3, 13)
    w, c, v, d = np.meshgrid(grid, grid, grid, grid, indexing="ij")
    optimum = []
    for a in np.linspace(-2, 2, 200):
        correct = np.zeros(w.shape)
        for row, label in zip(x, y, strict=True):
            z = w * row + c
            hidden = a * np.maximum(z, 0) + (1 - a) * np.clip(z, -1, 1)
            correct += (v * hidden + d > 0) == label
        optimum.append(correct.max() / 6)
    values = np.array(optimum)
    most = max(np.count_nonzero(np.diff(values > z)) for z in np.arange(6) / 6)
    assert most <= activation_interpolation(1, [1], 1, 6).value
