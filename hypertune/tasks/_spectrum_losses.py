"""Loss and metrics of labelling the bins of a spectrum, for complex and for real outputs.

References:
    [Shin2025] Shin, Vuran. I Can't Believe It's Not Real: CV-MuSeNet: Complex-Valued Multi-Signal Segmentation.
        IEEE DySPAN 2025, arXiv 2506.11048.
    [Lin2017] Lin, Goyal, Girshick, He, Dollar. Focal Loss for Dense Object Detection. ICCV 2017, arXiv 1708.02002.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.errors import TaskError

__all__ = ["SpectrumFocalLoss", "bin_accuracy", "complex_plane_iou", "occupancy", "spectrum_iou"]


@dataclass(frozen=True, slots=True)
class SpectrumFocalLoss:
    """Focal loss of each bin, averaged over the bins: the complex Fourier spectrum focal loss of [Shin2025].

    A complex output has two logits, its real and its imaginary part. Each is trained to tell the bin's label by
    ``-(1 - p_t)**gamma log p_t`` ([Lin2017] eq. 4), where ``p_t`` is the probability given to the label, and the two
    losses are averaged. A real output has one logit.

    Attributes:
        gamma: How much bins that are already right are discounted; 0 is the cross-entropy, else at least 1 (between,
            the slope is infinite at certainty).
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.gamma != 0 and not self.gamma >= 1:
            raise TaskError("out of range", where="task.loss.gamma", given=self.gamma, expected="0, or at least 1")

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example in nats, ``(batch,)``.

        Args:
            outputs: Logits ``(batch, bins)``, complex or real.
            targets: 1 where a bin is occupied, else 0: ``(batch, bins)``.

        Raises:
            TaskError: The shapes differ.
        """
        logits = _logits(outputs, targets)
        labels = targets.to(logits.dtype).unsqueeze(-1).expand_as(logits)
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        if self.gamma:
            losses = (-torch.expm1(-losses)) ** self.gamma * losses
        return losses.flatten(1).mean(dim=1)


def occupancy(outputs: Tensor) -> Tensor:
    """Return the probability that each bin is occupied, ``(batch, bins)``; complex outputs: the mean of both parts."""
    return _parts(outputs).sigmoid().mean(dim=-1)


def bin_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of bins labelled right, in [0, 1]; shapes as for `SpectrumFocalLoss`."""
    _logits(outputs, targets)
    return ((occupancy(outputs) > 0.5) == (targets > 0.5)).float().mean()


def spectrum_iou(outputs: Tensor, targets: Tensor) -> Tensor:
    """Bins both predicted and occupied over bins that are either, mean over the examples, in [0, 1].

    A bin is predicted when `occupancy` is above 1/2. An example without either counts as 1.
    """
    _logits(outputs, targets)
    return _iou(occupancy(outputs) > 0.5, targets > 0.5)


def complex_plane_iou(outputs: Tensor, targets: Tensor) -> Tensor:
    """Intersection over union in the complex plane of [Shin2025], mean over the examples, in [0, 1].

    A bin is predicted when either part of its output says so. Of real outputs it is `spectrum_iou`.
    """
    return _iou((_logits(outputs, targets) > 0).any(dim=-1), targets > 0.5)


def _iou(predicted: Tensor, occupied: Tensor) -> Tensor:
    both = (predicted & occupied).sum(dim=1)
    either = (predicted | occupied).sum(dim=1)
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both, dtype=torch.float32)).mean()


def _logits(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape != targets.shape or outputs.dim() != 2:
        raise TaskError(
            "outputs and labels differ in shape",
            where="task.loss",
            given=f"outputs {tuple(outputs.shape)}, labels {tuple(targets.shape)}",
            expected="(batch, bins) both",
            fix="end the model with one output per bin, as the family cmusenet does",
        )
    return _parts(outputs)


def _parts(outputs: Tensor) -> Tensor:
    """Return the logits of each bin on a last axis of 2 or 1."""
    return torch.view_as_real(outputs) if outputs.is_complex() else outputs.unsqueeze(-1)
