"""Delta-STN: the weights train at lambda, the response on the linearised model ([Bae20])."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hypertune.hypernets.contract import BestResponse

__all__ = ["DeltaSTN"]


class DeltaSTN(BestResponse):
    """Delta-STN ([Bae20] algorithm 1).

    The response is centred: at the current lambda the weights are the plain ones. A weight step is two updates:
    the plain weights on the training loss at the unperturbed lambda, then the response on the loss at lambda + eps
    of the model linearised in the displacement, ``f + J_h f eps`` by forward-mode differentiation, with the plain
    weights held fixed.

    Args:
        args: As for `BestResponse`.
        linearize: False: the response trains on the model itself instead of its linearisation.
        keywords: As for `BestResponse`.
    """

    def __init__(self, *args: Any, linearize: bool = True, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._linearize = linearize
        if linearize:
            # At the first use torch loads its forward-mode rules by a function that it deprecates itself.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)
                torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.ones(()),))

    def weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train the weights, then the response, on one batch; see `BestResponse.weight_step`."""
        centre = self.model.hyperparameters.raw.detach()
        loss = self._training_loss(x, y, None, centre[None])
        self.precision.step(loss, self.weight_optimizer, self._general, self.options.grad_clip)
        perturbation = self._perturbation(len(x)).detach()
        response_loss = self._response_loss(x, y, perturbation, centre + perturbation)
        self.precision.step(response_loss, self.response_optimizer, self._responses, self.options.grad_clip)
        return loss.detach()

    def _response_loss(self, x: Tensor, y: Tensor, perturbation: Tensor, raw: Tensor) -> Tensor:
        values = self.model.hyperparameters.values(raw)
        # The plain weights are held fixed: nothing of the value at displacement 0 is kept for a backward pass.
        with _frozen_statistics(self.model), _fixed(self._general):
            outputs, added, penalized, finish = self._training_outputs(
                x, y, perturbation, values, linearized=self._linearize
            )
        # Losses and penalties are not linearised: without their curvature the response of decayed weights would be
        # that of weights without decay. The weights themselves are linear in the displacement.
        return (finish(outputs) + self.model.penalty(added, penalized, perturbation, values)).mean()

    def _moved(self, step: Tensor) -> None:
        # Not the sum of all steps, whose rounding would add up.
        self.centre = self.model.hyperparameters.raw.detach().clone()


@contextlib.contextmanager
def _frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Normalize by the batch inside the block, and leave the running statistics to the steps on the weights."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextlib.contextmanager
def _fixed(weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """Compute without gradients of the weights inside the block."""
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
