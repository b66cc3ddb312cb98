from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from hypertune.effects.affine import affine_matrix

Make = Callable[..., Any]


def warp(x: Tensor, *, right: float = 0.0, down: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Tensor:
    def each(*values: float) -> Tensor:
        return torch.tensor([values], dtype=x.dtype).expand(len(x), -1)

    matrix = affine_matrix(
        shift=each(right, down), degrees=each(degrees)[:, 0], zoom=each(zoom)[:, 0], size=(x.shape[-2], x.shape[-1])
    )
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def test_no_motion_is_the_identity(images: Make) -> None:
    x = images(3, 5, 8)
    torch.testing.assert_close(warp(x), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [6, 7])
def test_quarter_turns_are_rot90(images: Make, quarters: int, side: int) -> None:
    x = images(2, side, side)
    torch.testing.assert_close(warp(x, degrees=90.0 * quarters), torch.rot90(x, quarters, (-2, -1)), rtol=0, atol=1e-12)


def test_half_a_turn_of_an_oblong_image(images: Make) -> None:
    x = images(2, 4, 9)
    torch.testing.assert_close(warp(x, degrees=180.0), x.flip(-2, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 1), (-3, 2)])
def test_whole_pixel_shifts_move_pixels_and_bring_in_zeros(images: Make, right: int, down: int) -> None:
    height, width = 5, 8
    x = images(2, height, width)
    expected = torch.zeros_like(x)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                expected[..., row, column] = x[..., row - down, column - right]
    torch.testing.assert_close(warp(x, right=right / width, down=down / height), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("right", "down", "degrees", "zoom"), [(0.0, 0.0, 30.0, 1.0), (0.0, 0.0, 0.0, 1.4), (0.11, -0.07, -50.0, 0.8)]
)
def test_motion_agrees_with_scipy(images: Make, right: float, down: float, degrees: float, zoom: float) -> None:
    height, width = 9, 13
    x = images(1, height, width)
    angle = math.radians(degrees)
    # Rows and columns; a counter-clockwise turn takes the right (0, 1) up (-1, 0).
    forward = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    inverse = np.linalg.inv(forward)
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    offset = centre - inverse @ (centre + np.array([down * height, right * width]))
    expected = [
        ndimage.affine_transform(channel, inverse, offset, order=1, mode="grid-constant") for channel in x[0].numpy()
    ]
    moved = warp(x, right=right, down=down, degrees=degrees, zoom=zoom)
    np.testing.assert_allclose(moved[0].numpy(), np.stack(expected), rtol=0, atol=1e-10)


def _mean_place(x: Tensor) -> Tensor:
    """Centre of mass of each image, ``(batch, 2)``: row and column in pixels."""
    mass = x.sum(dim=1)
    rows = (mass.sum(dim=2) * torch.arange(mass.shape[1])).sum(dim=1) / mass.sum(dim=(1, 2))
    columns = (mass.sum(dim=1) * torch.arange(mass.shape[2])).sum(dim=1) / mass.sum(dim=(1, 2))
    return torch.stack((rows, columns), dim=1)


def test_shifts_fill_their_range_in_both_axes(augment: Make) -> None:
    x = torch.zeros(2000, 1, 20, 40, dtype=torch.float64)
    x[:, :, 9:11, 19:21] = 1.0  # a spot in the middle stays inside the image
    moved = (_mean_place(augment(shift=0.3)(x)) - _mean_place(x)) / torch.tensor([20.0, 40.0], dtype=x.dtype)
    assert moved.abs().max() <= 0.3 + 1e-6
    for axis in (0, 1):
        assert moved[:, axis].std().item() == pytest.approx(0.3 / math.sqrt(3), rel=0.05)  # uniform
    assert abs(np.corrcoef(moved.T.numpy())[0, 1]) < 0.1


def test_each_image_moves_within_its_own_strength(augment: Make) -> None:
    x = torch.zeros(2000, 1, 20, 20, dtype=torch.float64)
    x[:, :, 9:11, 9:11] = 1.0
    strength = torch.linspace(0, 0.4, 2000)
    moved = (_mean_place(augment(shift=strength)(x)) - _mean_place(x)) / 20
    assert (moved.abs().amax(dim=1) <= strength + 1e-6).all()
    assert (moved[1:].abs() / strength[1:, None]).std().item() == pytest.approx(1 / math.sqrt(12), rel=0.05)


def test_zoom_stays_in_its_range_and_is_even_in_the_logarithm(augment: Make) -> None:
    # Bilinear interpolation reproduces a plane, and the outline x = y = 0 is the centre: values shrink by the zoom.
    ramp = (torch.arange(40, dtype=torch.float64) - 19.5).expand(2000, 1, 40, 40)
    zoomed = augment(scale=0.5)(ramp)
    zoom = 1 / (zoomed[:, 0, 20, 21] - zoomed[:, 0, 20, 20])
    assert zoom.max() <= 1.5 + 1e-6
    assert zoom.min() >= 1 / 1.5 - 1e-6
    assert zoom.log().std().item() == pytest.approx(math.log(1.5) / math.sqrt(3), rel=0.05)
    assert abs(zoom.log().mean().item()) < 0.03


def test_rotations_fill_their_range(augment: Make) -> None:
    ramp = (torch.arange(20, dtype=torch.float64) - 9.5).expand(2000, 1, 20, 20)
    turned = augment(rotate=60.0)(ramp)
    right = turned[:, 0, 10, 11] - turned[:, 0, 10, 10]
    down = turned[:, 0, 11, 10] - turned[:, 0, 10, 10]
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert degrees.abs().max() <= 60 + 1e-4
    assert degrees.std().item() == pytest.approx(60 / math.sqrt(3), rel=0.05)


def test_reduced_precision_does_not_blur_places(augment: Make) -> None:
    # Neighbouring pixels of a wide image have the same coordinate in bfloat16.
    x = torch.randn(2, 1, 4, 512, generator=torch.Generator().manual_seed(0)).bfloat16()
    moved = augment(shift=0.1)(x)
    torch.testing.assert_close(moved.float(), augment(shift=0.1)(x.float()), rtol=0, atol=0.02)
