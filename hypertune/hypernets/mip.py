"""A hypernetwork over a whole search space: from hyperparameters to the weights of an unmodified module.

References:
    [Ortiz24] Ortiz, Guttag, Dalca. Magnitude Invariant Parametrizations Improve Hypernetwork Learning. ICLR 2024,
        arXiv 2304.07645.
    [Lorraine18] Lorraine, Duvenaud. Stochastic Hyperparameter Optimization through Hypernetworks. arXiv 1802.09419.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from optuna.distributions import FloatDistribution
from torch import Tensor, nn
from torch.func import functional_call

from hypertune.errors import ConfigError
from hypertune.hypernets._mip_body import Body
from hypertune.hypernets._mip_encoding import PointEncoding
from hypertune.hypernets._mip_heads import WEIGHT_HEADS, Target, WeightHead
from hypertune.hypernets._mip_size import choose_head, default_hidden
from hypertune.hypernets.attach import ResponseModel, attach
from hypertune.hypernets.binding import Target as BoundTarget
from hypertune.hypernets.context import BatchAxis
from hypertune.hypernets.hyperparameters import as_range
from hypertune.space import SearchSpace

__all__ = ["MIPHypernetwork", "batch_statistics", "groups", "tracking"]

_FEATURES = ""


class MIPHypernetwork(nn.Module):
    """Predicts the weights of a network that was trained under given hyperparameters ([Lorraine18]).

    ``w(g) = w0 + D(E(g))``: the encoding E has constant norm, w0 are free weights that start as the plain network's,
    and D is a body of fully connected layers with an output head ([Ortiz24] section 3.3).

    Heads: ``full``, every weight is a linear function of the body's features; ``low_rank``, every weight matrix changes
    by a product of two thin ones; ``chunked``, one small network predicts all weights chunk by chunk; ``gated``, each
    unit's weights grow and shrink as a whole, as those of a best-response layer do, so that every example of a batch
    can have hyperparameters of its own.

    Batch normalization uses the statistics of the batch, while training and in evaluation: running ones would mix
    those of all hyperparameters. Buffers are never changed.

    Args:
        model: Any module; it is copied, and its code stays as it is.
        space: The hyperparameters, numeric or choices of numbers, all unconditional.
        head: ``full``, ``gated``, ``low_rank`` or ``chunked``; ``auto``: the first of ``full``, ``low_rank``,
            ``chunked`` and ``gated`` that fits.
        max_parameters: Largest number of parameters that body and head may have.
        rank: Rank of the changes, for ``low_rank``.
        hidden: Units of each layer of the body. None: 16 and 128 as in [Ortiz24], the last fewer, down to 16, where
            that lets ``full`` be used: all weights by few features ranked better than a low rank by many.
        activation: The body's; see `Body`.
        normalization: The body's; see `Body`.
        encoding: ``mip`` or ``raw``; see `PointEncoding`.
        residual: Whether the head's outputs are added to w0. Without, they are the weights.
        constants: Values of further hyperparameters that act inside the model, such as a fixed weight decay.
        outside: Names of hyperparameters that act outside the model; see `attach`.
        bind: What hyperparameters act on; see `attach`.
        include: Layers that respond, for ``gated``; see `attach`.
        exclude: Layers that stay as w0, for ``gated``; see `attach`.
        batch_axes: See `attach`.

    Attributes:
        names: Hyperparameters, in order of the axes of a point.
        head: The head's name.
        hidden: Units of each layer of the body.
        response: The copy of the model, in which the hyperparameters act.

    Raises:
        ConfigError: An option is unknown or out of range, or the head is too large.
        SpaceError: A hyperparameter acts on nothing.
        FamilyError: No layer can be gated.
    """

    def __init__(
        self,
        model: nn.Module,
        space: SearchSpace,
        *,
        head: str = "auto",
        max_parameters: int = 5_000_000,
        rank: int = 8,
        hidden: Sequence[int] | None = None,
        activation: str = "leaky_relu",
        normalization: str = "none",
        encoding: str = "mip",
        residual: bool = True,
        constants: Mapping[str, float] | None = None,
        outside: Collection[str] | None = None,
        bind: Mapping[str, BoundTarget] | None = None,
        include: Sequence[str | type[nn.Module]] = ("*",),
        exclude: Sequence[str | type[nn.Module]] = (),
        batch_axes: Mapping[str, BatchAxis] | None = None,
    ) -> None:
        super().__init__()
        self.names = space.names
        self.encoding = PointEncoding(space.distributions, encoding)
        self.residual = residual
        self.constants = dict(constants or {})
        # Constants act as hyperparameters do, without being an input; what their range is has no meaning.
        ranges = {name: as_range(known) for name, known in space.distributions.items()}
        numbers = SearchSpace(ranges | {name: FloatDistribution(0.0, 1.0) for name in self.constants})

        def attached(size: int) -> ResponseModel:
            return attach(
                model,
                numbers,
                numbers.decode([0.5] * len(numbers)),
                outside=outside,
                bind=bind,
                include=include,
                exclude=exclude,
                batch_axes=batch_axes,
                size=size,
            )

        plain = attached(0)
        targets = _targets(plain.model)
        if hidden is None:
            hidden = default_hidden(head, targets, self.encoding.size, max_parameters)
        self.hidden = tuple(hidden)
        self.body = Body(self.encoding.size, hidden, activation=activation, normalization=normalization)
        features = self.body.outputs
        body = sum(weight.numel() for weight in self.body.parameters())
        self.head = choose_head(
            head, targets, lambda: _gates(attached(features)), features=features, rank=rank, room=max_parameters - body
        )
        self.outputs: WeightHead | None = None
        if self.head == "gated":
            if not residual:
                raise ConfigError(
                    "gates scale free weights, so they are a residual",
                    where="sampler.hypernetwork.residual",
                    given=residual,
                    expected="another head for `residual: false`",
                )
            self._runner = _Runner(attached(features))
        else:
            self._runner = _Runner(plain)
            power = None if residual else self._power()
            self.outputs = WEIGHT_HEADS[self.head](targets, features, rank=rank, power=power)
            if not residual:
                for weight in plain.model.parameters():
                    weight.requires_grad_(False)
        # Points come from outside; the values that the copy was attached at mean nothing.
        self.response.hyperparameters.requires_grad_(False)
        self._complex = {n for n, weight in plain.model.named_parameters() if weight.is_complex()}
        self.to(next(model.parameters()).device)

    @property
    def response(self) -> ResponseModel:
        """The copy of the model, in which the hyperparameters act."""
        return self._runner.model

    def values(self, points: Tensor) -> dict[str, Tensor]:
        """Return the values of the hyperparameters, ``(n,)`` by name, at points ``(n, d)``."""
        constants = {name: points.new_full((len(points),), value) for name, value in self.constants.items()}
        return self.encoding.values(points) | constants

    def features(self, points: Tensor) -> Tensor:
        """Return the body's features, ``(n, features)``, with gradient to the points, ``(n, d)``."""
        features: Tensor = self.body(self.encoding(points))
        return features

    @torch.no_grad()
    def _power(self) -> float:
        """Return the features' mean square at the centre of the space."""
        features: Tensor = self.body(self.encoding(torch.full((1, len(self.names)), 0.5)))
        return max(float(features.square().mean()), torch.finfo(features.dtype).tiny)

    def generated(self, points: Tensor) -> dict[str, Tensor]:
        """Return what makes the network of each point, with gradient: its weights, or its features where units gate.

        Args:
            points: ``(n, d)`` in [0, 1].

        Returns:
            ``(n, ...)`` by name; row i, by name, is what `run` takes.
        """
        features = self.features(points)
        if self.outputs is None:
            return {_FEATURES: features}
        own = dict(self.response.model.named_parameters())
        weights = {}
        for name, made in self.outputs(features).items():
            change = torch.view_as_complex(made.contiguous()) if name in self._complex else made
            weights[name] = own[name] + change if self.residual else change
        return weights

    def run(self, x: Any, generated: Mapping[str, Tensor]) -> Tensor:
        """Run the network of one point; no hyperparameter acts.

        Args:
            x: What the plain model takes; the examples along the first axis.
            generated: What `generated` has for the point.

        Returns:
            The model's outputs.
        """
        with batch_statistics(self.response):
            outputs, _ = self._run(x, {name: part[None] for name, part in generated.items()}, None)
        return outputs

    def forward(self, x: Any, points: Tensor) -> tuple[Tensor, Tensor]:
        """Run the networks of points under the points' hyperparameters, as for training.

        Args:
            x: What the plain model takes; the examples along the first axis.
            points: ``(k, d)`` in [0, 1]: the batch is divided into k groups of consecutive examples, see `groups`, with
                one point each. With the head ``gated``, as many points as examples cost no more than one.

        Returns:
            The model's outputs, and what must be added to each example's loss, ``(batch,)``: decay of its weights and
            the like.
        """
        values, generated = self.values(points), self.generated(points)
        parts: list[tuple[Tensor, Tensor]] = []
        with batch_statistics(self.response):
            if self.outputs is None and len(points) == len(x):
                parts.append(self._run(x, generated, values))
            else:
                for k, group in enumerate(x.split(groups(len(x), len(points)))):
                    own = {name: part[k : k + 1] for name, part in generated.items()}
                    acting = {name: value[k : k + 1] for name, value in values.items()}
                    parts.append(self._run(group, own, acting))
        return torch.cat([outputs for outputs, _ in parts]), torch.cat([penalty for _, penalty in parts])

    @torch.no_grad()
    def plain_state_dict(self, point: Tensor) -> dict[str, Any]:
        """Return the state dict of the plain model with the weights predicted for one point, ``(d,)``."""
        generated = {name: part[0] for name, part in self.generated(point[None]).items()}
        if self.outputs is None:
            return self.response.plain_state_dict(generated[_FEATURES])
        state = self.response.plain_state_dict()
        named = list(self.response.model.named_parameters(remove_duplicate=False))
        name_of = {id(weight): name for name, weight in reversed(named)}  # a shared weight goes by its first name
        state.update({alias: generated[name_of[id(w)]] for alias, w in named if name_of[id(w)] in generated})
        return state

    def _run(
        self, x: Any, generated: Mapping[str, Tensor], values: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        if self.outputs is None:
            outputs, penalty = self._runner(x, generated[_FEATURES], values)
        else:
            weights = {f"model.model.{name}": part[0] for name, part in generated.items()}
            outputs, penalty = functional_call(self._runner, weights, (x, None, values))
        return outputs, x.new_zeros(len(x)) if penalty is None else penalty.expand(len(x))


def groups(examples: int, points: int) -> list[int]:
    """Return the sizes of the groups that a batch is divided into.

    Args:
        examples: Size of the batch.
        points: Number of groups, at most as many as examples.
    """
    bounds = [k * examples // points for k in range(points + 1)]
    return [end - start for start, end in itertools.pairwise(bounds)]


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let normalization layers use the statistics of the batch inside the block, and leave the running ones alone."""
    norms = tracking(model)
    before = [(norm.training, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.momentum = True, 0.0
        yield
    finally:
        for norm, (training, momentum, count) in zip(norms, before, strict=True):
            norm.training, norm.momentum = training, momentum
            norm.num_batches_tracked.copy_(count)


def tracking(model: nn.Module) -> list[Any]:
    """Return the layers that normalize with running statistics: torch's, and those that keep to its attributes."""
    return [module for module in model.modules() if vars(module).get("track_running_stats")]


class _Runner(nn.Module):
    """Makes `functional_call` reach the method that returns penalties too."""

    def __init__(self, model: ResponseModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Any, displacement: Tensor | None, values: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, Tensor | None]:
        return self.model.outputs_and_penalties(x, displacement, values)


def _targets(model: nn.Module) -> dict[str, Target]:
    targets = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            real = torch.view_as_real(weight.detach()) if weight.is_complex() else weight.detach()
            spread = float(real.std(correction=0)) if real.numel() > 1 else 0.0
            targets[name] = Target(tuple(real.shape), spread)
    return targets


def _gates(model: ResponseModel) -> int:
    return sum(weight.numel() for weight in model.response_parameters())
