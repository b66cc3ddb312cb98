from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import jaccard_score

from hypertune.errors import TaskError
from hypertune.tasks._spectrum_losses import (
    SpectrumFocalLoss,
    bin_accuracy,
    complex_plane_iou,
    occupancy,
    spectrum_iou,
)


def by_hand(logit, label, gamma):
    p = 1 / (1 + math.exp(-logit))
    right = p if label else 1 - p
    return -((1 - right) ** gamma) * math.log(right)


@pytest.fixture
def bins():
    outputs = torch.randn(3, 7, dtype=torch.complex128) * 2
    return outputs, torch.randint(2, (3, 7)).double()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 2.5])
def test_focal_loss_equals_its_definition_on_both_parts(bins, gamma):
    outputs, labels = bins
    expected = [
        sum((by_hand(z.real, y, gamma) + by_hand(z.imag, y, gamma)) / 2 for z, y in zip(zs, ys, strict=True)) / 7
        for zs, ys in zip(outputs.tolist(), labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(SpectrumFocalLoss(gamma)(outputs, labels), torch.tensor(expected, dtype=torch.float64))
    real = [
        sum(by_hand(z.real, y, gamma) for z, y in zip(zs, ys, strict=True)) / 7
        for zs, ys in zip(outputs.tolist(), labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(SpectrumFocalLoss(gamma)(outputs.real, labels), torch.tensor(real, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_gradients(bins, gamma):
    outputs, labels = bins
    loss = SpectrumFocalLoss(gamma)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), (outputs.requires_grad_(),))


def test_certain_outputs_have_finite_losses_and_slopes():
    outputs = torch.tensor([[1e4 + 1e4j, -1e4 - 1e4j]], dtype=torch.complex64).requires_grad_()
    for labels in ([[1.0, 0.0]], [[0.0, 1.0]]):
        loss = SpectrumFocalLoss()(outputs, torch.tensor(labels)).sum()
        (slope,) = torch.autograd.grad(loss, outputs)
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.view_as_real(slope)).all()


def test_metrics_equal_scikit_learns(bins):
    outputs, labels = bins
    predicted = (outputs.real.sigmoid() + outputs.imag.sigmoid()) / 2 > 0.5
    either = (outputs.real > 0) | (outputs.imag > 0)
    assert bin_accuracy(outputs, labels).item() == pytest.approx((predicted == labels.bool()).double().mean().item())
    for metric, mask in ((spectrum_iou, predicted), (complex_plane_iou, either)):
        expected = sum(jaccard_score(y, p) for y, p in zip(labels.numpy(), mask.double().numpy(), strict=True)) / 3
        assert metric(outputs, labels).item() == pytest.approx(expected)
    assert complex_plane_iou(outputs.real, labels) == spectrum_iou(outputs.real, labels)
    torch.testing.assert_close(occupancy(outputs.real), outputs.real.sigmoid())


def test_nothing_to_find_and_nothing_found_is_right():
    empty = torch.zeros(2, 5)
    assert spectrum_iou(torch.full((2, 5), -1.0), empty) == 1
    assert spectrum_iou(torch.full((2, 5), 1.0), empty) == 0


@pytest.mark.parametrize("shape", [(3, 6), (3, 7, 1), (7,)])
def test_other_shapes_are_refused(bins, shape):
    _, labels = bins
    for function in (SpectrumFocalLoss(), bin_accuracy, spectrum_iou, complex_plane_iou):
        with pytest.raises(TaskError, match="differ in shape"):
            function(torch.zeros(shape), labels)


@pytest.mark.parametrize("gamma", [-1.0, 0.5, math.nan])
def test_gamma_is_checked(gamma):
    with pytest.raises(TaskError, match="out of range"):
        SpectrumFocalLoss(gamma)
