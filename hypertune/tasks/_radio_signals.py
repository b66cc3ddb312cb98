"""Baseband signals of common modulations, as complex samples of a given bandwidth.

Proakis, Salehi. Digital Communications. 5th edition, McGraw-Hill 2008, chapters 3, 9 and 11; Carson's rule for FM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MODULATIONS", "multipath", "signal"]

Samples = NDArray[np.complex128]
Reals = NDArray[np.floating[Any]]

_ROLL_OFF = 0.25
_PULSE_SPAN = 6  # symbols on each side after which a pulse is cut
_SUBCARRIERS = 8
_CYCLIC_PREFIX = 0.125
_DEVIATION_RATIO = 3.0  # of FM: largest frequency deviation over the message's bandwidth
_MODULATION_DEPTH = 0.8
_TONES = 6


def signal(modulation: str, n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
    """Return ``(n,)`` samples of mean power 1 around frequency 0.

    Args:
        modulation: One of `MODULATIONS`.
        n: Samples.
        bandwidth: Of the band that holds nearly all power, in cycles per sample, in (0, 1).
        generator: Draws message, timing and phase.
    """
    samples = _MODULATORS[modulation](n, bandwidth, generator)
    made: Samples = samples * np.exp(2j * np.pi * generator.random()) / np.sqrt(np.mean(np.abs(samples) ** 2))
    return made


def multipath(samples: Samples, taps: int, generator: np.random.Generator) -> Samples:
    """Return samples after a channel of Rayleigh-fading paths, ``(n - taps + 1,)``.

    Path l has mean power ``exp(-l)`` and a delay of l samples; the paths' powers are scaled to sum to 1.

    Args:
        samples: ``(n,)``.
        taps: Number of paths.
        generator: Draws the paths.
    """
    paths = _circular(taps, generator) * np.exp(-0.5 * np.arange(taps))
    return np.convolve(samples, paths / np.linalg.norm(paths), mode="valid")


def _linear(points: Samples) -> Callable[[int, float, np.random.Generator], Samples]:
    """Return a modulator that sends random points in root-raised-cosine pulses."""

    def modulate(n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
        time = np.arange(n) * bandwidth / (1 + _ROLL_OFF) + generator.random()  # in symbols
        numbers = np.arange(-_PULSE_SPAN, int(time[-1]) + _PULSE_SPAN + 1)
        symbols = points[generator.integers(len(points), size=len(numbers))]
        # Not a matrix product: threads of a small one on a busy machine wait for each other.
        made: Samples = (_root_raised_cosine(time[:, None] - numbers) * symbols).sum(axis=1)
        return made

    return modulate


def _root_raised_cosine(t: Reals) -> Reals:
    # The two removable singularities are met with probability 0: the timing is random.
    slope = 4 * _ROLL_OFF * t
    numerator = np.sin(np.pi * t * (1 - _ROLL_OFF)) + slope * np.cos(np.pi * t * (1 + _ROLL_OFF))
    pulse: Reals = numerator / (np.pi * t * (1 - slope**2))
    return np.where(np.abs(t) <= _PULSE_SPAN, pulse, 0.0)


def _ofdm(n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
    spacing = bandwidth / _SUBCARRIERS
    useful = 1 / spacing
    total = useful * (1 + _CYCLIC_PREFIX)
    time = np.arange(n) + generator.random() * total
    number = (time // total).astype(int)
    bits = generator.integers(4, size=(number[-1] + 1, _SUBCARRIERS))
    carriers = spacing * (np.arange(_SUBCARRIERS) - (_SUBCARRIERS - 1) / 2)
    tones = np.exp(2j * np.pi * (time % total - _CYCLIC_PREFIX * useful)[:, None] * carriers)
    made: Samples = (tones * _QPSK[bits][number]).sum(axis=1)
    return made


def _fm(n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
    # Carson's rule: bandwidth = 2 (deviation + message bandwidth).
    message_bandwidth = bandwidth / (2 * (1 + _DEVIATION_RATIO))
    deviation = _DEVIATION_RATIO * message_bandwidth
    made: Samples = np.exp(2j * np.pi * deviation * np.cumsum(_message(n, message_bandwidth, generator)))
    return made


def _am(n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
    return (1 + _MODULATION_DEPTH * _message(n, bandwidth / 2, generator)).astype(np.complex128)


def _chirp(n: int, bandwidth: float, generator: np.random.Generator) -> Samples:
    period = generator.uniform(n / 4, n)
    sweep = (np.arange(n) / period + generator.random()) % 1 - 0.5
    made: Samples = np.exp(2j * np.pi * bandwidth * np.cumsum(sweep * generator.choice((-1, 1))))
    return made


def _message(n: int, bandwidth: float, generator: np.random.Generator) -> Reals:
    """Return a sum of tones below ``bandwidth`` with its largest magnitude at 1."""
    frequencies = bandwidth * generator.uniform(0.1, 1, size=_TONES)
    phases = 2 * np.pi * (np.arange(n)[:, None] * frequencies + generator.random(_TONES))
    message = (np.cos(phases) * generator.uniform(0.5, 1, size=_TONES)).sum(axis=1)
    made: Reals = message / np.abs(message).max()
    return made


def _circular(n: int, generator: np.random.Generator) -> Samples:
    return generator.standard_normal(n) + 1j * generator.standard_normal(n)


_BPSK = np.array([-1, 1], dtype=np.complex128)
_QPSK = np.exp(0.25j * np.pi * np.array([1, 3, 5, 7]))
_LEVELS = np.array([-3, -1, 1, 3])
_QAM16 = (_LEVELS[:, None] + 1j * _LEVELS).ravel() / np.sqrt(10)

_MODULATORS: dict[str, Callable[[int, float, np.random.Generator], Samples]] = {
    "bpsk": _linear(_BPSK),
    "qpsk": _linear(_QPSK),
    "qam16": _linear(_QAM16),
    "ofdm": _ofdm,
    "fm": _fm,
    "am": _am,
    "chirp": _chirp,
}

MODULATIONS = tuple(_MODULATORS)
"""What `signal` can make."""
