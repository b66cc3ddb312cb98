"""Wideband spectrum sensing: which bins of a received spectrum are occupied. Synthetic data, made when asked for.

A receiver samples a band in which a few transmitters are active, each in a band of its own. Their signals
(`MODULATIONS`) pass a channel of a few Rayleigh-fading paths, arrive with a frequency offset and at a signal-to-noise
ratio of their own, and white Gaussian noise is added. The input is the discrete Fourier transform of one stretch of
samples, the target says for each bin whether it lies in a transmitter's band. The setting is that of Shin, Vuran 2025
(arXiv 2506.11048); the data are ours, and no recording is in them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypertune.errors import TaskError, did_you_mean
from hypertune.records import TaskSpec
from hypertune.tasks._radio_signals import MODULATIONS, multipath, signal
from hypertune.tasks._spectrum_losses import SpectrumFocalLoss, bin_accuracy, complex_plane_iou, spectrum_iou
from hypertune.tasks._splits import check_whole
from hypertune.tasks.contract import Task, TensorSplit

__all__ = [
    "MODULATIONS",
    "TASK",
    "SpectrumFocalLoss",
    "bin_accuracy",
    "complex_plane_iou",
    "rf_spectrum",
    "spectrum_iou",
]

_NARROWEST, _WIDEST = 0.03, 0.2  # bandwidths, in cycles per sample
_GUARD = 2  # free bins between two bands
_LONGEST_CHANNEL = 4  # paths
_TRIES = 20


def rf_spectrum(
    *,
    n_train: int = 1200,
    n_val: int = 400,
    n_test: int = 400,
    split_seed: int = 0,
    length: int = 256,
    max_signals: int = 4,
    snr_low: float = -20.0,
    snr_high: float = 20.0,
    frequency_offset: float = 0.5,
    modulations: Sequence[str] = MODULATIONS,
) -> Task:
    """Return the task: complex ``(1, length)`` spectra, one label in {0, 1} per bin, ``(length,)`` float32.

    Bin k is the frequency ``(k - length // 2) / length`` in cycles per sample. Each spectrum is scaled to mean power 1,
    as a receiver's gain control does; so the noise floor is not known.

    Each example has a random stream of its own: a smaller split is the beginning of a larger one.

    Args:
        n_train: Training examples.
        n_val: Validation examples.
        n_test: Test examples.
        split_seed: Seed of all random draws.
        length: Samples of a stretch, and bins of its spectrum; at least 64.
        max_signals: Most transmitters at a time; at least one is active.
        snr_low: Lowest signal-to-noise ratio in dB: a signal's power over that of the noise in the whole sampled band.
        snr_high: Highest one; each signal's is drawn evenly between.
        frequency_offset: Largest distance of a signal from the middle of its band, in bins.
        modulations: Some of `MODULATIONS`.

    Raises:
        TaskError: An option is out of range.
    """
    sizes = {"train": n_train, "val": n_val, "test": n_test}
    for name, value, low in (
        *((f"n_{split}", size, 1) for split, size in sizes.items()),
        ("split_seed", split_seed, 0),
        ("length", length, 64),
        ("max_signals", max_signals, 1),
    ):
        check_whole(name, value, low)
    _check_number("snr_low", snr_low, -math.inf, snr_high)
    _check_number("snr_high", snr_high, snr_low, math.inf)
    _check_number("frequency_offset", frequency_offset, 0, length / 4)
    known = _known(modulations)

    def split(number: int, size: int) -> TensorSplit:
        x = np.empty((size, 1, length), dtype=np.complex64)
        y = np.empty((size, length), dtype=np.float32)
        for index in range(size):
            generator = np.random.default_rng([split_seed, number, index])
            x[index, 0], y[index] = _example(
                generator, length, max_signals, (snr_low, snr_high), frequency_offset / length, known
            )
        return TensorSplit(torch.from_numpy(x), torch.from_numpy(y))

    spec = TaskSpec("rf_spectrum", "regression", (1, length), length, "complex64")
    splits = {name: split(number, size) for number, (name, size) in enumerate(sizes.items())}
    metrics = {"accuracy": bin_accuracy, "iou": spectrum_iou, "ciou": complex_plane_iou}
    return Task(spec, splits["train"], splits["val"], splits["test"], SpectrumFocalLoss(), metrics)


def _example(
    generator: np.random.Generator,
    length: int,
    max_signals: int,
    snr: tuple[float, float],
    largest_offset: float,
    modulations: Sequence[str],
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    frequencies = (np.arange(length) - length // 2) / length
    received = (generator.standard_normal(length) + 1j * generator.standard_normal(length)) / math.sqrt(2)
    occupied = np.zeros(length, dtype=bool)
    for center, bandwidth in _bands(generator, length, max_signals):
        taps = int(generator.integers(1, _LONGEST_CHANNEL + 1))
        modulation = str(generator.choice(modulations))
        samples = multipath(signal(modulation, length + taps - 1, bandwidth, generator), taps, generator)
        carrier = center + generator.uniform(-largest_offset, largest_offset)
        amplitude = 10 ** (generator.uniform(*snr) / 20)
        received = received + amplitude * samples * np.exp(2j * np.pi * carrier * np.arange(length))
        occupied |= np.abs(frequencies - center) <= bandwidth / 2
    received = received / np.sqrt(np.mean(np.abs(received) ** 2))
    return np.fft.fftshift(np.fft.fft(received, norm="ortho")), occupied


def _bands(generator: np.random.Generator, length: int, max_signals: int) -> list[tuple[float, float]]:
    """Draw centres and widths of bands that do not meet; fewer than wanted where the rest finds no place."""
    bands: list[tuple[float, float]] = []
    wanted = int(generator.integers(1, max_signals + 1))
    for _ in range(_TRIES):
        width = math.exp(generator.uniform(math.log(_NARROWEST), math.log(_WIDEST)))
        center = generator.uniform(-0.5 + width / 2, 0.5 - width / 2)
        free = all(abs(center - other) >= (width + other_width) / 2 + _GUARD / length for other, other_width in bands)
        if free:
            bands.append((center, width))
        if len(bands) == wanted:
            break
    return bands


def _known(modulations: object) -> tuple[str, ...]:
    if isinstance(modulations, str) or not isinstance(modulations, Sequence) or not modulations:
        raise TaskError(
            "no list of modulations",
            where="task.modulations",
            given=modulations,
            expected=f"some of {', '.join(MODULATIONS)}",
        )
    for name in modulations:
        if name not in MODULATIONS:
            raise TaskError(
                f"unknown modulation {name!r}", where="task.modulations", fix=did_you_mean(name, MODULATIONS)
            )
    return tuple(modulations)


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TaskError("not a number", where=f"task.{name}", given=value, expected="a finite number")
    if not low <= value <= high:
        raise TaskError(
            "out of range", where=f"task.{name}", given=value, expected=f"a number from {low:g} to {high:g}"
        )


TASK = rf_spectrum
