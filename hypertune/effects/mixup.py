"""``mixup``: convex combinations of pairs of examples.

References:
    [Zhang2018] Zhang, Cisse, Dauphin, Lopez-Paz. mixup: Beyond Empirical Risk Minimization. ICLR 2018,
        arXiv 1710.09412.
    [Johnk1964] Johnk. Erzeugung von betaverteilten und gammaverteilten Zufallszahlen. Metrika 8, 1964.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from hypertune.effects.contract import Effect, Hyperparameter, Mixed, Values, per_example

__all__ = ["EFFECT", "Mixup", "symmetric_beta"]

_ROUNDS = 24


class Mixup(Effect):
    """Mix each example with another of its batch, with weight Beta(alpha, alpha) ([Zhang2018] section 2)."""

    hyperparameters: ClassVar[Mapping[str, Hyperparameter]] = {
        "mixup": Hyperparameter(
            "alpha of the Beta(alpha, alpha) that an example's weight in a mixture is drawn from; 0 mixes nothing",
            high=1.0,
        )
    }

    def mix(self, x: Tensor, y: Tensor, values: Values, generator: torch.Generator) -> Mixed:
        """Mix a batch; see `Effect.mix`."""
        alpha = torch.as_tensor(values["mixup"], dtype=torch.float32, device=x.device).reshape(-1).expand(len(x))
        weight = symmetric_beta(alpha, generator)
        # The larger share stays with the example itself: Beta(alpha, alpha) is symmetric, so nothing is lost, and a
        # weak mixup is a small change.
        weight = torch.maximum(weight, 1 - weight)
        partner = torch.randperm(len(x), generator=generator, device=x.device)
        share = per_example(weight, x)
        return Mixed(torch.lerp(x[partner], x, share.expand_as(x)), y[partner], weight)


def symmetric_beta(alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Draw from Beta(alpha, alpha), each entry with its own alpha, by [Johnk1964].

    Of uniform pairs, the first with ``u**(1/alpha) + v**(1/alpha) <= 1`` gives ``u**(1/alpha) / (sum of both)``. In
    logarithms it works down to alpha = 0, where the draw is 1. The acceptance is at least 1/2 for alpha up to 1, so a
    draw without an accepted pair has probability below 2**-24; the last pair is then taken as it is.

    Args:
        alpha: In [0, 1], ``(batch,)``.
        generator: Random stream; how much is drawn does not depend on alpha.

    Returns:
        ``(batch,)`` in [0, 1].
    """
    pairs = torch.rand(_ROUNDS, 2, len(alpha), generator=generator, device=alpha.device, dtype=torch.float32)
    logs = pairs.clamp_min(1e-38).log() / alpha.clamp_min(1e-6)
    total = torch.logaddexp(logs[:, 0], logs[:, 1])
    accepted = (total <= 0).to(torch.int8)
    first = torch.where(accepted.any(dim=0), accepted.argmax(dim=0), _ROUNDS - 1)
    draws = torch.exp(logs[:, 0] - total).gather(0, first[None])[0]
    return torch.where(alpha > 0, draws, torch.ones_like(draws))


EFFECT = Mixup()
