"""STN: all weights train at perturbed hyperparameters ([MacKay19])."""

from __future__ import annotations

from torch import Tensor

from hypertune.hypernets.contract import BestResponse

__all__ = ["STN"]


class STN(BestResponse):
    """Self-tuning network ([MacKay19] algorithm 1).

    Weights and response train together on the training loss at perturbed hyperparameters,
    ``E_eps L_T(lambda + eps, w(lambda + eps))``. Displacements are measured from the start of lambda, so that when
    lambda moves the deployed weights move along the response at once, and the model starts as the plain one.
    """

    def weight_step(self, x: Tensor, y: Tensor) -> Tensor:
        """Train weights and response on one batch; see `BestResponse.weight_step`."""
        raw = self.model.hyperparameters.raw.detach() + self._perturbation(len(x)).detach()
        loss = self._training_loss(x, y, raw - self.centre, raw)
        self.precision.step(
            loss,
            (self.weight_optimizer, self.response_optimizer),
            [*self._general, *self._responses],
            self.options.grad_clip,
        )
        return loss.detach()
