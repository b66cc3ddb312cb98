from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

Make = Callable[..., Any]


def test_erased_is_one_square_of_the_side_cut_by_the_border(augment: Make) -> None:
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


def test_the_mean_erased_side_grows_smoothly(augment: Make) -> None:
    x = torch.ones(4000, 1, 8, 8, dtype=torch.float64)
    erased = [(augment(erase=side)(x) == 0).double().mean().item() for side in (0.05, 0.1, 0.15)]
    assert 0 < erased[0] < erased[1] < erased[2]


def test_holes_are_independent_squares(augment: Make) -> None:
    side, length = 0.3, 20
    x = torch.ones(10_000, 1, length, length)
    for holes in (0, 1, 3, 8):
        erased = (augment(erase=side, erase_holes=holes)(x) == 0).double().mean(dim=0)[0]
        # A pixel away from the border is in one square with probability (side)^2.
        middle = erased[8:12, 8:12].mean().item()
        assert middle == pytest.approx(1 - (1 - side**2) ** holes, abs=0.02)  # 4 standard deviations


def test_another_hole_leaves_the_first_ones_in_place(augment: Make) -> None:
    x = torch.ones(50, 1, 16, 16)
    before = torch.zeros_like(x, dtype=torch.bool)
    for holes in range(9):
        erased = augment(erase=0.3, erase_holes=holes)(x) == 0
        assert (erased | ~before).all()
        assert (erased != before).any() or holes == 0
        before = erased


def test_the_number_of_holes_is_per_example_and_rounded_down(augment: Make) -> None:
    x = torch.ones(40, 1, 16, 16)
    holes = torch.arange(40) % 9 + 0.99
    mixed = augment(erase=0.2, erase_holes=holes)(x)
    for count in range(9):
        chosen = holes.long() == count
        assert torch.equal(mixed[chosen], augment(erase=0.2, erase_holes=count)(x)[chosen])


def test_the_number_of_holes_does_not_move_the_next_batch(augment: Make) -> None:
    x = torch.ones(8, 1, 16, 16)
    few, many = augment(erase=0.3, erase_holes=1), augment(erase=0.3, erase_holes=8)
    few(x), many(x)
    few.values["erase_holes"] = many.values["erase_holes"] = 1
    assert torch.equal(few(x), many(x))


def test_places_keep_their_precision_in_bfloat16(augment: Make) -> None:
    x = torch.ones(4, 1, 4, 600)
    assert torch.equal(augment(erase=0.4)(x.bfloat16()).float(), augment(erase=0.4)(x))
