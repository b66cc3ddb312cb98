from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from hypertune.errors import TrialError
from hypertune.training.augment import Augment, affine_matrix
from hypertune.training.hyperparameters import TrainingHyperparameters


def augment(seed: int = 0, **strengths: float) -> Augment:
    return Augment(TrainingHyperparameters(**strengths), seed=seed)  # type: ignore[arg-type]


def images(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def warp(x: Tensor, *, right: float = 0.0, down: float = 0.0, degrees: float = 0.0, zoom: float = 1.0) -> Tensor:
    def each(*values: float) -> Tensor:
        return torch.tensor([values], dtype=x.dtype).expand(len(x), -1)

    matrix = affine_matrix(
        shift=each(right, down), degrees=each(degrees)[:, 0], zoom=each(zoom)[:, 0], size=(x.shape[-2], x.shape[-1])
    )
    grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def test_no_strength_is_the_input_itself() -> None:
    x = images(3, 4, 4)
    assert augment()(x) is x


def test_no_motion_is_the_identity() -> None:
    x = images(3, 5, 8)
    torch.testing.assert_close(warp(x), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
@pytest.mark.parametrize("side", [6, 7])
def test_quarter_turns_are_rot90(quarters: int, side: int) -> None:
    x = images(2, side, side)
    torch.testing.assert_close(warp(x, degrees=90.0 * quarters), torch.rot90(x, quarters, (-2, -1)), rtol=0, atol=1e-12)


def test_half_a_turn_of_an_oblong_image() -> None:
    x = images(2, 4, 9)
    torch.testing.assert_close(warp(x, degrees=180.0), x.flip(-2, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 1), (-3, 2)])
def test_whole_pixel_shifts_move_pixels_and_bring_in_zeros(right: int, down: int) -> None:
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
def test_motion_agrees_with_scipy(right: float, down: float, degrees: float, zoom: float) -> None:
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


@pytest.mark.parametrize("name", ["shift", "rotate", "scale", "erase", "input_noise"])
def test_examples_are_drawn_one_by_one_and_repeat_with_the_seed(name: str) -> None:
    x = images(1, 8, 8).expand(16, -1, -1, -1)
    strength = 90.0 if name == "rotate" else 0.5
    results = augment(1, **{name: strength})(x)
    assert results.shape == x.shape
    assert results.dtype == x.dtype
    assert len({tuple(result.flatten().tolist()) for result in results}) > 8
    assert torch.equal(augment(1, **{name: strength})(x), results)
    assert not torch.equal(augment(2, **{name: strength})(x), results)


def test_batches_in_a_row_are_drawn_anew() -> None:
    made, x = augment(input_noise=1.0), images(4, 3, 3)
    assert not torch.equal(made(x), made(x))


def _mean_place(x: Tensor) -> Tensor:
    """Centre of mass of each image, ``(batch, 2)``: row and column in pixels."""
    mass = x.sum(dim=1)
    rows = (mass.sum(dim=2) * torch.arange(mass.shape[1])).sum(dim=1) / mass.sum(dim=(1, 2))
    columns = (mass.sum(dim=1) * torch.arange(mass.shape[2])).sum(dim=1) / mass.sum(dim=(1, 2))
    return torch.stack((rows, columns), dim=1)


def test_shifts_fill_their_range_in_both_axes() -> None:
    x = torch.zeros(2000, 1, 20, 40, dtype=torch.float64)
    x[:, :, 9:11, 19:21] = 1.0  # a spot in the middle stays inside the image
    moved = (_mean_place(augment(shift=0.3)(x)) - _mean_place(x)) / torch.tensor([20.0, 40.0], dtype=x.dtype)
    assert moved.abs().max() <= 0.3 + 1e-9
    for axis in (0, 1):
        assert moved[:, axis].std().item() == pytest.approx(0.3 / math.sqrt(3), rel=0.05)  # uniform
    assert abs(np.corrcoef(moved.T.numpy())[0, 1]) < 0.1


def test_zoom_stays_in_its_range_and_is_even_in_the_logarithm() -> None:
    # Bilinear interpolation reproduces a plane, and the outline x = y = 0 is the centre: values shrink by the zoom.
    ramp = (torch.arange(40, dtype=torch.float64) - 19.5).expand(2000, 1, 40, 40)
    zoomed = augment(scale=0.5)(ramp)
    zoom = 1 / (zoomed[:, 0, 20, 21] - zoomed[:, 0, 20, 20])
    assert zoom.max() <= 1.5 + 1e-9
    assert zoom.min() >= 1 / 1.5 - 1e-9
    assert zoom.log().std().item() == pytest.approx(math.log(1.5) / math.sqrt(3), rel=0.05)
    assert abs(zoom.log().mean().item()) < 0.03


def test_rotations_fill_their_range() -> None:
    ramp = (torch.arange(20, dtype=torch.float64) - 9.5).expand(2000, 1, 20, 20)
    turned = augment(rotate=60.0)(ramp)
    right = turned[:, 0, 10, 11] - turned[:, 0, 10, 10]
    down = turned[:, 0, 11, 10] - turned[:, 0, 10, 10]
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert degrees.abs().max() <= 60 + 1e-6
    assert degrees.std().item() == pytest.approx(60 / math.sqrt(3), rel=0.05)


def test_erased_is_one_square_of_the_side_cut_by_the_border() -> None:
    height, width, side = 12, 20, 0.5
    x = torch.ones(3000, 2, height, width, dtype=torch.float64)
    erased = augment(erase=side)(x) == 0
    assert torch.equal(erased[:, 0], erased[:, 1])  # all channels
    rows, columns = erased[:, 0].any(dim=2), erased[:, 0].any(dim=1)
    assert torch.equal(erased[:, 0], rows[:, :, None] & columns[:, None, :])  # one rectangle
    for line, length in ((rows, height), (columns, width)):
        counts = line.sum(dim=1)
        assert counts.max() == 6  # half of the shorter side
        assert ((line[:, 1:] != line[:, :-1]).sum(dim=1) <= 2).all()  # without gaps
        # A segment of length s centred anywhere on [0, n] covers s - s^2 / (4 n) of it on average.
        assert counts.double().mean().item() == pytest.approx(6 - 36 / (4 * length), rel=0.02)


def test_the_mean_erased_side_grows_smoothly() -> None:
    x = torch.ones(4000, 1, 8, 8, dtype=torch.float64)
    erased = [(augment(erase=side)(x) == 0).double().mean().item() for side in (0.05, 0.1, 0.15)]
    assert 0 < erased[0] < erased[1] < erased[2]


def test_noise_has_its_standard_deviation_and_fits_any_shape() -> None:
    x = torch.zeros(200, 50)
    noise = augment(input_noise=0.7)(x)
    assert noise.std().item() == pytest.approx(0.7, rel=0.03)
    assert abs(noise.mean().item()) < 0.03


@pytest.mark.parametrize(
    ("alone", "added"),
    [
        ({"input_noise": 1.0}, {"shift": 0.3, "erase": 0.3}),
        ({"erase": 0.4}, {"input_noise": 1e-9, "rotate": 1e-9}),
        ({"rotate": 45.0}, {"shift": 1e-12, "scale": 1e-12}),
        ({"shift": 0.3}, {"rotate": 1e-9, "erase": 1e-12}),
    ],
)
def test_adding_one_leaves_the_draws_of_the_others(alone: dict[str, Any], added: dict[str, Any]) -> None:
    x = torch.zeros(8, 1, 6, 6, dtype=torch.float64) if "input_noise" in alone else images(8, 6, 6)
    torch.testing.assert_close(augment(**alone)(x), augment(**alone, **added)(x), rtol=0, atol=1e-6)


def test_steps_draw_unrelated_numbers() -> None:
    spot, paper = torch.zeros(1, 1, 21, 21), torch.ones(1, 1, 21, 21)
    spot[:, :, 10, 10] = 1.0
    right, row = [], []
    for seed in range(300):
        right.append(_mean_place(augment(seed, shift=0.4)(spot))[0, 1].item())
        row.append(_mean_place(1 - augment(seed, erase=0.3)(paper))[0, 0].item())
    assert abs(np.corrcoef(right, row)[0, 1]) < 0.2  # 3.5 standard deviations of chance


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    augment(shift=0.1, rotate=10, scale=0.1, erase=0.2, input_noise=0.1)(images(4, 6, 6))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("strengths", [{"input_noise": 0.1}, {"shift": 0.1}])
def test_integer_inputs_are_refused(strengths: dict[str, float]) -> None:
    with pytest.raises(TrialError, match="floating-point"):
        augment(**strengths)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
