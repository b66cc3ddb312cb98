from __future__ import annotations

import numpy as np
import pytest
import torch

from hypertune.errors import TaskError
from hypertune.tasks._fourier import fourier_task
from hypertune.tasks.contract import Task, TensorSplit
from hypertune.tasks.digits import digits
from hypertune.tasks.digits_fourier import digits_fourier
from hypertune.tasks.mnist5k import mnist5k
from hypertune.tasks.mnist5k_fourier import mnist5k_fourier

PAIRS = [
    pytest.param(digits_fourier, digits, (1, 8, 8), id="digits"),
    pytest.param(mnist5k_fourier, mnist5k, (1, 28, 28), id="mnist5k"),
]
SIZES = {"n_train": 30, "n_val": 20, "n_test": 10}


@pytest.mark.parametrize(("spectra", "images", "shape"), PAIRS)
def test_inputs_are_the_spectra_of_the_same_images(spectra, images, shape):
    task, plain = spectra(**SIZES, split_seed=3), images(**SIZES, split_seed=3)
    assert task.spec.input_shape == shape
    assert task.spec.dtype == "complex64"
    assert plain.spec.dtype == "float32"
    for split in ("train", "val", "test"):
        made, original = getattr(task, split), getattr(plain, split)
        assert torch.equal(made.y, original.y)
        expected = np.fft.fftshift(np.fft.fft2(original.x.double().numpy(), norm="ortho"), axes=(-2, -1))
        np.testing.assert_allclose(made.x.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("spectra", "images", "shape"), PAIRS)
def test_frequency_zero_is_in_the_middle_and_energy_is_kept(spectra, images, shape):
    task, plain = spectra(**SIZES), images(**SIZES)
    side = shape[-1]
    x, image = task.train.x, plain.train.x
    torch.testing.assert_close(x[:, 0, side // 2, side // 2].real, image.sum(dim=(1, 2, 3)) / side)
    torch.testing.assert_close(x.abs().square().sum(), image.square().sum())


def test_of_real_images_frequencies_come_in_conjugate_pairs():
    x = digits_fourier(**SIZES).train.x[:, 0, 1:, 1:]
    torch.testing.assert_close(x, x.flip(-1, -2).conj(), atol=1e-5, rtol=0)


def test_other_inputs_are_refused():
    split = TensorSplit(torch.zeros(3, 4), torch.zeros(3, 1))
    task = digits(**SIZES)
    with pytest.raises(TaskError, match="not images in memory"):
        fourier_task(Task(task.spec, split, split, None, task.loss, task.metrics), "flat")
