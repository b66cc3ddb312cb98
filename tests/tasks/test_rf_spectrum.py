from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from hypertune.errors import TaskError
from hypertune.tasks.rf_spectrum import MODULATIONS, rf_spectrum

SMALL = {"n_train": 12, "n_val": 4, "n_test": 4}


def test_shapes_types_and_power():
    task = rf_spectrum(**SMALL, length=128)
    assert task.spec.input_shape == (1, 128)
    assert (task.spec.output_size, task.spec.dtype, task.spec.kind) == (128, "complex64", "regression")
    x, y = task.train.x, task.train.y
    torch.testing.assert_close(x.abs().square().mean(dim=(1, 2)), torch.ones(12))  # Parseval: the samples' mean power
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert (y.sum(dim=1) >= 3).all()


def test_occupied_bins_hold_the_power_of_strong_signals():
    task = rf_spectrum(n_train=60, n_val=1, n_test=1, snr_low=30, snr_high=30, frequency_offset=0)
    power = task.train.x[:, 0].abs().square()
    inside = (power * task.train.y).sum() / power.sum()
    assert inside > 0.9
    assert 0.05 < task.train.y.mean() < 0.5


def test_signal_to_noise_ratio_is_the_one_asked_for():
    """The same draws without a signal give the noise; what it does not explain is the signal."""
    one = {
        "n_train": 40,
        "n_val": 1,
        "n_test": 1,
        "max_signals": 1,
        "length": 4096,
        "modulations": ["fm", "chirp", "am"],
    }
    noise = rf_spectrum(**one, snr_low=-200, snr_high=-200).train.x
    for decibels in (-10.0, 0.0, 10.0):
        x = rf_spectrum(**one, snr_low=decibels, snr_high=decibels).train.x
        gain = (noise.conj() * x).mean(dim=(1, 2), keepdim=True)
        power = (x - gain * noise).abs().square().mean(dim=(1, 2)) / gain.abs().square().flatten()
        assert 10 * power.median().log10().item() == pytest.approx(decibels, abs=0.5)


def test_without_signal_nothing_tells_the_bins_apart():
    task = rf_spectrum(n_train=100, n_val=1, n_test=1, snr_low=-100, snr_high=-100)
    power = task.train.x[:, 0].abs().square()
    inside = (power * task.train.y).sum() / task.train.y.sum()
    assert inside.item() == pytest.approx(1, abs=0.08)


def test_bands_are_apart_and_up_to_the_number_asked_for():
    y = rf_spectrum(n_train=150, n_val=1, n_test=1, max_signals=3).train.y
    starts = ((y[:, 1:] == 1) & (y[:, :-1] == 0)).sum(dim=1) + (y[:, 0] == 1)
    assert sorted(starts.unique().tolist()) == [1, 2, 3]


def test_same_seed_same_data_in_a_fresh_process():
    code = (
        "from hypertune.tasks.rf_spectrum import rf_spectrum;"
        f"t = rf_spectrum(**{SMALL}); print(repr(t.test.x.abs().double().sum().item()))"
    )
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(fresh.stdout) == rf_spectrum(**SMALL).test.x.abs().double().sum().item()
    assert not torch.equal(rf_spectrum(**SMALL, split_seed=1).train.x, rf_spectrum(**SMALL).train.x)


def test_a_smaller_split_is_the_beginning_of_a_larger_one():
    small, larger = rf_spectrum(**SMALL), rf_spectrum(**{**SMALL, "n_train": 20})
    assert torch.equal(small.train.x, larger.train.x[:12])
    assert torch.equal(small.val.x, larger.val.x)


@pytest.mark.parametrize("modulation", MODULATIONS)
def test_each_modulation_alone(modulation):
    task = rf_spectrum(n_train=8, n_val=1, n_test=1, modulations=[modulation], snr_low=30, snr_high=30)
    assert torch.isfinite(torch.view_as_real(task.train.x)).all()


def test_metrics_are_those_of_the_labels():
    task = rf_spectrum(**SMALL)
    right = 20 * (2 * task.val.y - 1)
    for outputs in (right, torch.complex(right, right)):
        assert {name: metric(outputs, task.val.y).item() for name, metric in task.metrics.items()} == {
            "accuracy": 1,
            "iou": 1,
            "ciou": 1,
        }
        assert task.loss(outputs, task.val.y).max() < 1e-6


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"n_train": 0}, "n_train"),
        ({"n_test": 2.0}, "n_test"),
        ({"split_seed": -1}, "split_seed"),
        ({"length": 32}, "length"),
        ({"max_signals": 0}, "max_signals"),
        ({"snr_low": 5, "snr_high": -5}, "snr_low"),
        ({"snr_high": float("inf")}, "snr_high"),
        ({"snr_low": True}, "snr_low"),
        ({"frequency_offset": -1}, "frequency_offset"),
        ({"modulations": []}, "modulations"),
        ({"modulations": "qpsk"}, "modulations"),
        ({"modulations": ["qpks"]}, "modulations"),
    ],
)
def test_wrong_options_are_named(options, where):
    with pytest.raises(TaskError) as caught:
        rf_spectrum(**{**SMALL, **options})
    assert caught.value.where == f"task.{where}"
