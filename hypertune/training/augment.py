"""Augmentation while training: batched, and drawn for each example.

References:
    [DeVries2017] DeVries, Taylor. Improved Regularization of Convolutional Neural Networks with Cutout.
        arXiv 1708.04552.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.errors import TrialError
from hypertune.training.hyperparameters import TrainingHyperparameters
from hypertune.training.seeds import derive_seed

__all__ = ["Augment", "affine_matrix"]


class Augment:
    """Shift, rotate and scale, then erase, then noise.

    Each of the three steps has a random stream of its own, and a step draws the same numbers whatever its strengths:
    turning one augmentation on leaves the draws of the others as they were. What an image uncovers, and what is
    erased from it, becomes 0.

    Args:
        hyperparameters: ``shift``, ``rotate``, ``scale``, ``erase`` and ``input_noise`` are read.
        seed: Seed of the random streams.
        device: Where the batches are.
    """

    def __init__(
        self, hyperparameters: TrainingHyperparameters, *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self._shift = hyperparameters.shift
        self._rotate = hyperparameters.rotate
        self._scale = hyperparameters.scale
        self._erase = hyperparameters.erase
        self._noise = hyperparameters.input_noise
        self._moves = bool(self._shift or self._rotate or self._scale)
        self._active = bool(self._moves or self._erase or self._noise)
        self._affine_stream, self._erase_stream, self._noise_stream = (
            torch.Generator(device).manual_seed(derive_seed(seed, stream)) for stream in ("affine", "erase", "noise")
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return augmented inputs; ``x`` itself when every strength is 0.

        Args:
            x: ``(batch, channels, height, width)``, or any shape when only noise is on; floating point.

        Returns:
            The same shape and dtype.

        Raises:
            TrialError: The inputs are not floating point.
        """
        if not self._active:
            return x
        if not x.is_floating_point():
            raise TrialError(
                "augmentation needs floating-point inputs",
                where="params",
                given=str(x.dtype),
                expected="float32 inputs",
                fix="convert the inputs in the task, or remove the augmentations from the space",
            )
        if self._moves:
            x = self._move(x)
        if self._erase:
            x = self._erase_square(x)
        if self._noise:
            x = x + self._noise * torch.empty_like(x).normal_(generator=self._noise_stream)
        return x

    def _move(self, x: Tensor) -> Tensor:
        draws = torch.rand(len(x), 4, generator=self._affine_stream, device=x.device, dtype=x.dtype) * 2 - 1
        matrix = affine_matrix(
            shift=draws[:, :2] * self._shift,
            degrees=draws[:, 2] * self._rotate,
            zoom=torch.exp(draws[:, 3] * math.log1p(self._scale)),
            size=(x.shape[-2], x.shape[-1]),
        )
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _erase_square(self, x: Tensor) -> Tensor:
        # [DeVries2017, section 3]: the centre lies anywhere in the image, the border may cut the square. The centre is
        # a real number, so that the mean erased area grows smoothly with the side.
        height, width = x.shape[-2:]
        half = self._erase * min(height, width) / 2
        draws = torch.rand(len(x), 2, 1, generator=self._erase_stream, device=x.device, dtype=x.dtype)
        rows, columns = (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5 for side in (height, width))
        in_rows = (rows - draws[:, 0] * height).abs() < half
        in_columns = (columns - draws[:, 1] * width).abs() < half
        return x.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def affine_matrix(*, shift: Tensor, degrees: Tensor, zoom: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the matrices for `torch.nn.functional.affine_grid` that zoom and rotate about the centre, then shift.

    The matrices map places in the result to places in the image, in coordinates that run from -1 to 1 along each axis;
    rotation and zoom keep shapes on images that are not square.

    Args:
        shift: Shift to the right and down, ``(batch, 2)``, as fractions of width and height.
        degrees: Rotation, ``(batch,)``, counter-clockwise as one sees the image.
        zoom: Factor, ``(batch,)``; above 1 enlarges what the image shows.
        size: Height and width in pixels.

    Returns:
        ``(batch, 2, 3)``.
    """
    height, width = size
    radians = degrees * (math.pi / 180)
    cosine, sine = torch.cos(radians) / zoom, torch.sin(radians) / zoom
    # Inverse of the rotation in pixels, rescaled to the two axes' coordinates.
    inverse = torch.stack((cosine, -sine * (height / width), sine * (width / height), cosine), dim=1).reshape(-1, 2, 2)
    offset = -inverse @ (2 * shift)[:, :, None]
    return torch.cat((inverse, offset), dim=2)
