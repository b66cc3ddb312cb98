from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

Make = Callable[..., Any]


def field(made: Any, n: int, height: int, width: int) -> Tensor:
    """Displacement of the pixels two or more away from the border, in pixels, ``(n, 2, height, width)``.

    Bilinear interpolation reproduces a plane, so a ramp shows where each pixel was read; a margin of zeros is avoided.
    """
    rows = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    ramps = torch.stack((rows, columns))
    return made(ramps.expand(n, 2, height, width)) - ramps


def test_displacements_are_normal_with_the_stated_standard_deviation(augment: Make) -> None:
    height, width, strength = 30, 60, 0.02
    moved = field(augment(elastic=strength), 3000, height, width)[:, :, 6:-6, 6:-6]
    for axis, side in ((0, height), (1, width)):
        per_pixel = moved[:, axis].std(dim=0)
        assert per_pixel.mean().item() == pytest.approx(strength * side, rel=0.01)
        assert per_pixel.min() > 0.93 * strength * side  # at every pixel, not only at some
        assert per_pixel.max() < 1.07 * strength * side
    standard = moved[:, :, 9, 24] / moved[:, :, 9, 24].std(dim=0)
    assert (standard.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.012)


def test_the_two_axes_and_the_images_are_independent(augment: Make) -> None:
    moved = field(augment(elastic=0.02), 3000, 20, 20)[:, :, 10, 10]
    assert abs(np.corrcoef(moved.T.numpy())[0, 1]) < 0.06
    assert abs(np.corrcoef(moved[1:, 0].numpy(), moved[:-1, 0].numpy())[0, 1]) < 0.06


def test_the_field_is_smooth(augment: Make) -> None:
    side = 56
    moved = field(augment(elastic=0.02), 200, side, side)[:, 0, 6:-6, 6:-6]
    # Noise smoothed by a Gaussian of 1/7 of the side has correlation exp(-d^2 / (4 s^2)) over a distance d.
    smooth = side / 7
    for distance in (1, 4, 8, 16):
        a, b = moved[:, :, distance:], moved[:, :, :-distance]
        correlation = ((a * b).mean() / moved.square().mean()).item()
        assert correlation == pytest.approx(np.exp(-((distance / smooth) ** 2) / 4), abs=0.04)
    second = moved[:, :, 2:] - 2 * moved[:, :, 1:-1] + moved[:, :, :-2]
    assert second.std() < 0.03 * moved.std()


def test_pixels_are_read_where_the_field_points(augment: Make) -> None:
    height, width = 12, 17
    made = augment(3, elastic=0.02)
    moved = field(made, 1, height, width)[0].numpy()
    picture = torch.randn(1, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = np.mgrid[:height, :width] + moved
    expected = ndimage.map_coordinates(picture[0, 0].numpy(), grid, order=1, mode="grid-constant")
    result = augment(3, elastic=0.02)(picture)[0, 0].numpy()
    inside = (slice(3, -3), slice(3, -3))  # the ramp tells nothing about pixels that look past the border
    np.testing.assert_allclose(result[inside], expected[inside], rtol=0, atol=1e-5)
