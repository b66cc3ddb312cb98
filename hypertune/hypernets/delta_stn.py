"""Delta-STN: the weights train at lambda, the response on the linearised model ([Bae20])."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
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

    def weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train the weights, then the response, on one batch; see `BestResponse.weight_step`."""
        centre = self.model.hyperparameters.raw.detach()
        loss = self._training_loss(x, y, None, centre[None])
        self.precision.step(loss, self.weight_optimizer, self._general, self.options.grad_clip)
        perturbation = self._perturbation(len(x)).detach()
        with _frozen_statistics(self.model):
            response_loss = self._response_loss(x, y, perturbation, centre + perturbation)
        self.precision.step(response_loss, self.response_optimizer, self._responses, self.options.grad_clip)
        return loss.detach()

    def _response_loss(self, x: Tensor, y: Tensor, perturbation: Tensor, raw: Tensor) -> Tensor:
        if not self._linearize:
            return self._training_loss(x, y, perturbation, raw)
        finishing: list[Callable[[Tensor], Tensor]] = []

        def respond(displacement: Tensor) -> tuple[Tensor, Tensor]:
            outputs, penalty, finish = self._training_outputs(x, y, displacement, raw)
            finishing.append(finish)
            return outputs, torch.zeros(1) if penalty is None else penalty

        # Everything random is drawn once, inside; value and slope belong to the same draws.
        value, slope = torch.func.jvp(respond, (torch.zeros_like(perturbation),), (perturbation,))  # type: ignore[misc]
        losses = finishing[0](value[0] + slope[0]) + value[1] + slope[1]
        mean: Tensor = losses.mean()
        return mean

    def _moved(self, step: Tensor) -> None:
        self.centre = self.centre + step


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
