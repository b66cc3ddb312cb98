"""``label_smoothing``: part of the target spread evenly over all classes.

References:
    [Szegedy2016] Szegedy et al. Rethinking the Inception Architecture for Computer Vision. CVPR 2016, arXiv 1512.00567.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hypertune.effects.contract import Effect, Hyperparameter, Values
from hypertune.records import TaskSpec

__all__ = ["EFFECT", "LabelSmoothing"]


class LabelSmoothing(Effect):
    """``(1 - strength) loss + strength * mean over the classes of -log_softmax(outputs)``.

    The second term is the cross-entropy with the uniform distribution ([Szegedy2016] section 7), so that for the
    cross-entropy it equals ``torch.nn.functional.cross_entropy(..., label_smoothing=strength)``.
    """

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "label_smoothing": Hyperparameter(
            "share of the target spread evenly over all classes", high=1.0, without_high=True
        )
    }

    def problem(self, spec: TaskSpec) -> str | None:
        """Refuse tasks without classes."""
        return None if spec.kind == "classification" else f"0 for the {spec.kind} task {spec.name!r}"

    def losses(self, losses: Tensor, outputs: Tensor, targets: Tensor, values: Values) -> Tensor:
        """Smooth the losses of ``(batch, classes, ...)`` logits; see `Effect.losses`."""
        strength = torch.as_tensor(values["label_smoothing"], dtype=losses.dtype, device=losses.device).reshape(-1)
        uniform = -functional.log_softmax(outputs, dim=1).flatten(1).mean(dim=1)
        return torch.lerp(losses, uniform, strength.expand_as(losses))


EFFECT = LabelSmoothing()
