"""Train a hypernetwork pass by pass: points drawn over the space, recovery from non-finite losses, exact state."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from hypertune.effects.catalogue import hyperparameters as hyperparameters_of_effects
from hypertune.effects.pipeline import Effects
from hypertune.errors import TrialError
from hypertune.hypernets.mip import MIPHypernetwork, groups
from hypertune.tasks.contract import Task
from hypertune.training._mip_settings import HypernetworkSettings
from hypertune.training.batches import make_batches, order_state, set_order_state
from hypertune.training.divergence import LossMonitor, NonFiniteLoss
from hypertune.training.seeds import derive_seed

__all__ = ["HypernetworkLoop", "Region"]

_RECOVERIES = 3
_SLOWER = 0.3

Region = tuple[Tensor, float]
"""Points of interest, ``(k, d)`` in [0, 1], and the standard deviation around them of what is drawn there."""


class HypernetworkLoop:
    """Minimizes the expected training loss over the space, ``E_g L_T(g, w(g))`` ([Lorraine18] eq. 5).

    A pass uses every training example once, whatever number of points a batch has. The learning rate follows a cosine
    from ``options.lr`` to 0 over all passes.

    A pass whose loss is not finite is taken back, and repeated with a learning rate 0.3 times as large; the fourth time
    it is an error.

    Args:
        network: The hypernetwork; it is trained in place.
        task: The task.
        options: How to train.
        passes: Passes in all.
        batch_size: Examples in a batch.
        constants: Values of effects that are not covered.
        device: Where to compute.
        seed: Seed of points, order, effects.
        region: Where a share of the points shall come from.

    References:
        [Lorraine18] Lorraine, Duvenaud. Stochastic Hyperparameter Optimization through Hypernetworks. arXiv 1802.09419.

    Attributes:
        done: Passes made.
        recoveries: Passes that were taken back.
    """

    def __init__(
        self,
        network: MIPHypernetwork,
        task: Task,
        options: HypernetworkSettings,
        *,
        passes: int,
        batch_size: int,
        constants: Mapping[str, float],
        device: torch.device,
        seed: int,
        region: Region | None = None,
    ) -> None:
        self.network = network
        self.done = 0
        self.recoveries = 0
        self._task, self._options, self._passes, self._device = task, options, passes, device
        known = hyperparameters_of_effects()
        self._constants = {name: value for name, value in constants.items() if value != known[name].default}
        self._outside = network.response.bindings.outside
        names = [*self._constants, *self._outside]
        self._effects = Effects(names, seed=derive_seed(seed, "augment"), device=device)
        self._train = make_batches(
            task.train,
            batch_size=batch_size,
            device=device,
            shuffle_seed=derive_seed(seed, "shuffle"),
            drop_single=True,
        )
        self._generator = torch.Generator().manual_seed(derive_seed(seed, "points"))
        self._region = region
        self._weights = [weight for weight in network.parameters() if weight.requires_grad]
        fused = all(w.is_floating_point() and w.device.type in {"cpu", "cuda"} for w in self._weights)
        self._optimizer = Adam(self._weights, lr=options.lr, fused=fused or None)
        self._scale = 1.0
        self._good = copy.deepcopy(self._content())

    def run_pass(self) -> float:
        """Make one pass over the training data and return its mean training loss.

        Raises:
            TrialError: The loss was not finite, again and again.
        """
        while True:
            try:
                loss = self._pass()
            except NonFiniteLoss as error:
                if self.recoveries == _RECOVERIES:
                    raise TrialError(
                        f"the hypernetwork's training loss is not finite, in pass {self.done} for the "
                        f"{_RECOVERIES + 1}th time",
                        where="sampler.hypernetwork",
                        given=f"lr {self._options.lr:g}, lowered to {self._options.lr * self._scale:.2g}",
                        fix="lower sampler.hypernetwork.lr, or look for NaN in the training data",
                    ) from error
                self._restore(copy.deepcopy(self._good))
                self.recoveries += 1
                self._scale *= _SLOWER
                continue
            self.done += 1
            self._good = copy.deepcopy(self._content())
            return loss

    def state_dict(self) -> dict[str, Any]:
        """Return everything that decides how training continues, but the global random state."""
        return {
            "content": self._content(),
            "order": order_state(self._train),
            "generator": self._generator.get_state(),
            "effects": self._effects.state_dict(),
            "done": self.done,
            "recoveries": self.recoveries,
            "scale": self._scale,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; on the CPU the same passes follow, bit by bit."""
        self._restore(state["content"])
        set_order_state(self._train, state["order"])
        self._generator.set_state(state["generator"].cpu())
        self._effects.load_state_dict(state["effects"])
        self.done, self.recoveries, self._scale = state["done"], state["recoveries"], state["scale"]
        self._good = copy.deepcopy(self._content())

    def _pass(self) -> float:
        network, options = self.network, self._options
        rate = options.lr * self._scale * 0.5 * (1 + math.cos(math.pi * self.done / self._passes))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        network.train()
        monitor = LossMonitor(self._device, self.done)
        for x, y in self._train:
            examples = len(x)
            points = self._points(examples if network.head == "gated" else min(options.draws, examples))
            values = network.values(points)
            if len(points) < examples:
                sizes = torch.tensor(groups(examples, len(points)), device=self._device)
                values = {name: value.repeat_interleave(sizes) for name, value in values.items()}
            acting: dict[str, Tensor | float] = {**self._constants, **{name: values[name] for name in self._outside}}
            batch = self._effects.apply(x, y, acting)
            outputs, penalty = network(batch.x, points)
            loss = (self._effects.example_losses(self._task.loss, outputs, batch, acting) + penalty).mean()
            monitor.add(loss.detach(), examples)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if options.grad_clip is not None:
                torch.nn.utils.clip_grad_norm_(self._weights, options.grad_clip)
            self._optimizer.step()
        # The loss tells of a step at the next one, which after a pass's last may be too late.
        if not all(bool(torch.isfinite(weight).all()) for weight in self._weights):
            raise NonFiniteLoss("training", math.nan, self.done)
        return monitor.mean()

    def _points(self, count: int) -> Tensor:
        size = len(self.network.names)
        points = torch.rand(count, size, generator=self._generator)
        if self._region is not None:
            centres, width = self._region
            chosen = torch.randint(len(centres), (count,), generator=self._generator)
            near = centres[chosen] + width * torch.randn(count, size, generator=self._generator)
            inside = torch.rand(count, 1, generator=self._generator) < self._options.region_share
            points = torch.where(inside, near.clamp(0, 1), points)
        return points.to(self._device)

    def _content(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def _restore(self, content: Mapping[str, Any]) -> None:
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
