"""Modulated signals against what defines them: power, bandwidth, alphabet, envelope."""

from __future__ import annotations

import numpy as np
import pytest

from hypertune.tasks._radio_signals import MODULATIONS, _root_raised_cosine, multipath, signal

N = 1024


def spectrum(modulation, bandwidth, seeds=20):
    power = np.zeros(N)
    for seed in range(seeds):
        samples = signal(modulation, N, bandwidth, np.random.default_rng(seed))
        power += np.abs(np.fft.fftshift(np.fft.fft(samples))) ** 2
    return (np.arange(N) - N // 2) / N, power / power.sum()


@pytest.mark.parametrize("modulation", MODULATIONS)
@pytest.mark.parametrize("bandwidth", [0.03, 0.2])
def test_power_lies_in_the_band_and_fills_it(modulation, bandwidth):
    frequencies, power = spectrum(modulation, bandwidth)
    assert power[np.abs(frequencies) <= bandwidth / 2].sum() > 0.92
    # A third of the band holds far less than all, but for AM, whose carrier does.
    middle = power[np.abs(frequencies) <= bandwidth / 6].sum()
    assert middle > 0.9 if modulation == "am" else middle < 0.8


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_mean_power_is_one_and_the_seed_decides(modulation):
    first, again, other = (signal(modulation, 200, 0.1, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.mean(np.abs(first) ** 2) == pytest.approx(1)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("modulation", ["fm", "chirp"])
def test_frequency_modulation_has_a_constant_envelope(modulation):
    np.testing.assert_allclose(np.abs(signal(modulation, N, 0.1, np.random.default_rng(0))), 1)


def test_amplitude_modulation_keeps_its_phase():
    samples = signal("am", N, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(np.angle(samples), np.angle(samples[0]))
    assert np.abs(samples).max() / np.abs(samples).min() > 2


def test_instantaneous_frequency_of_a_chirp_sweeps_its_band_evenly():
    samples = signal("chirp", N, 0.2, np.random.default_rng(0))
    steps = np.angle(samples[1:] / samples[:-1]) / (2 * np.pi)
    assert steps.min() == pytest.approx(-0.1, abs=0.005)
    assert steps.max() == pytest.approx(0.1, abs=0.005)
    slope = np.diff(steps)
    assert np.median(np.abs(slope - np.median(slope))) < 1e-9


def moments(modulation):
    """Return |E s^2| and E|s|^4 over some messages."""
    runs = [signal(modulation, 3000, 0.1, np.random.default_rng(seed)) for seed in range(8)]
    return np.mean([abs(np.mean(s**2)) for s in runs]), np.mean([np.mean(np.abs(s) ** 4) for s in runs])


def test_alphabets_have_their_moments():
    """BPSK is real up to a turn; the others are not; 16-QAM's power varies more than QPSK's."""
    second, fourth = zip(*(moments(modulation) for modulation in ("bpsk", "qpsk", "qam16")), strict=True)
    assert second[0] == pytest.approx(1)
    assert max(second[1:]) < 0.15
    assert fourth[2] > fourth[1] + 0.1


def test_pulses_meet_no_other_symbols_behind_a_matched_filter():
    """Root-raised-cosine pulses a whole number of symbols apart are orthogonal."""
    t = np.arange(-12, 12, 0.01) + 0.003
    pulse = _root_raised_cosine(t)
    energy = (pulse**2).sum()
    for symbols in (1, 2, 3):
        assert abs((pulse[: -100 * symbols] * pulse[100 * symbols :]).sum()) < 0.005 * energy


def test_ofdm_repeats_the_end_of_each_symbol_before_it():
    samples = signal("ofdm", 2048, 0.1, np.random.default_rng(0))
    useful = 80  # 8 subcarriers in 0.1
    product = samples[:-useful] * samples[useful:].conj()
    period = 90
    folded = np.abs(np.array([product[phase::period].mean() for phase in range(period)]))
    assert folded.max() > 4 * np.median(folded)


def test_multipath_keeps_the_mean_power_and_colours_the_spectrum():
    noise = np.random.default_rng(0)
    white = (noise.standard_normal(20_000) + 1j * noise.standard_normal(20_000)) / np.sqrt(2)
    flat = multipath(white, 1, np.random.default_rng(1))
    assert len(flat) == 20_000
    np.testing.assert_allclose(np.abs(flat), np.abs(white))
    coloured = multipath(white, 4, np.random.default_rng(1))
    assert len(coloured) == 20_000 - 3
    assert np.mean(np.abs(coloured) ** 2) == pytest.approx(1, rel=0.05)
    lag = np.abs(np.mean(coloured[1:] * coloured[:-1].conj()))
    assert lag > 0.1
