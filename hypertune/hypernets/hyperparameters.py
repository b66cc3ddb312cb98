"""The hyperparameters a trial tunes: unconstrained values, the scales they are perturbed with, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch import Tensor, nn
from torch.nn import functional

from hypertune.errors import SpaceError, did_you_mean
from hypertune.records import Params, ParamValue
from hypertune.space import SearchSpace

__all__ = ["TunedHyperparameters", "as_range", "value_at"]

# A start at the very end of a range would sit where the sigmoid is flat; it is moved in by this share of the range.
_MARGIN = 0.02
# lambda is kept where the sigmoid has at least 0.25% of the range left to its ends; nearer, it could not come back.
_LIMIT = math.log(0.9975 / 0.0025)
_EDGE = 0.005


class TunedHyperparameters(nn.Module):
    """Unconstrained hyperparameters lambda with perturbation scales sigma.

    Each value is a stretched sigmoid of its lambda ([MacKay19] section 3.2): linear ranges in the value, logarithmic
    ranges in its logarithm; integers and stepped ranges are the cell of the range that the sigmoid falls into. No
    gradient passes through the values: it reaches lambda through the best response alone, which is what lets discrete
    hyperparameters be tuned.

    Args:
        space: The hyperparameters to tune, each numeric with a range of some width.
        start: Value each one starts from; a start at the end of a range is moved inside by 2% of the range, because
            the sigmoid is flat at its ends.
        scale: Initial standard deviation of the perturbation of lambda, above 0; one for all, or by name.

    Attributes:
        names: Names, in the order of lambda's entries.
        raw: lambda, ``(h,)``.
        raw_scale: Unconstrained scales, ``(h,)``; ``sigma = softplus(raw_scale)``.

    Raises:
        SpaceError: A hyperparameter is categorical, its range has no width, its start is outside, or a scale is not
            above 0 or of no hyperparameter.
    """

    def __init__(self, space: SearchSpace, start: Params, *, scale: float | Mapping[str, float] = 0.5) -> None:
        super().__init__()
        self.names = space.names
        self._distributions = dict(space.distributions)
        SearchSpace(self._distributions, frozenset(self.names))  # refuses what cannot be tuned
        for name in scale if isinstance(scale, Mapping) else ():
            if name not in self.names:
                raise SpaceError(
                    "a scale for no hyperparameter",
                    where=f"self_tuning.scale.{name}",
                    expected=f"one of {', '.join(self.names)}",
                    fix=did_you_mean(name, self.names),
                )
        point = space.encode(space.validate({name: start[name] for name in self.names if name in start}))
        self.raw = nn.Parameter(_logit(torch.tensor(point).clamp(_MARGIN, 1 - _MARGIN)).float())
        scales = torch.tensor([_scale(scale, name) for name in self.names])
        self.raw_scale = nn.Parameter(torch.log(torch.expm1(scales)))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the perturbation of each lambda, ``(h,)``, with gradient."""
        return functional.softplus(self.raw_scale)

    def perturb(self, examples: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw perturbations of lambda, with gradient to the scales.

        Args:
            examples: Number of independent draws.
            generator: Random stream, on the device of lambda.

        Returns:
            ``(examples, h)``.
        """
        noise = torch.randn(examples, len(self), generator=generator, device=self.raw.device, dtype=self.raw.dtype)
        return noise * self.scale

    def entropy(self) -> Tensor:
        """Return the entropy of the perturbation, ``sum_i log(sigma_i sqrt(2 pi e))`` ([MacKay19] eq. 14)."""
        return (self.scale.log() + 0.5 * math.log(2 * math.pi * math.e)).sum()

    @torch.no_grad()
    def values(self, raw: Tensor) -> dict[str, Tensor]:
        """Return each hyperparameter's value.

        Args:
            raw: Unconstrained, ``(..., h)``.

        Returns:
            Values by name, ``(...)`` each, inside their ranges; whole numbers as floats.
        """
        positions = torch.sigmoid(raw)
        ranges = self._distributions
        return {name: value_at(positions[..., index], ranges[name]) for index, name in enumerate(self.names)}

    def current(self) -> dict[str, ParamValue]:
        """Return the value of each hyperparameter at lambda, as Python scalars inside its range."""
        values: dict[str, ParamValue] = {}
        for name, value in self.values(self.raw.detach().double()).items():
            distribution = self._distributions[name]
            assert isinstance(distribution, FloatDistribution | IntDistribution)
            number = min(max(float(value), distribution.low), distribution.high)
            values[name] = int(number) if isinstance(distribution, IntDistribution) else number
        return values

    def unconstrained(self, params: Params) -> Tensor:
        """Return the lambda of given values, ``(h,)``; values at an end of their range are moved inside.

        Raises:
            SpaceError: A value is missing or outside its range.
        """
        space = SearchSpace(self._distributions)
        point = torch.tensor(space.encode(params)).clamp(_MARGIN, 1 - _MARGIN)
        return _logit(point).to(self.raw)

    @torch.no_grad()
    def confine_(self) -> None:
        """Keep lambda out of the flat ends of the sigmoid, where it could not come back from."""
        self.raw.clamp_(-_LIMIT, _LIMIT)

    def at_edge(self) -> dict[str, str]:
        """Return the hyperparameters whose lambda has run to the flat end of its range: name -> ``low`` or ``high``."""
        positions = torch.sigmoid(self.raw.detach()).tolist()
        edges = {name: "low" if u < 0.5 else "high" for name, u in zip(self.names, positions, strict=True)}
        inside = {name for name, u in zip(self.names, positions, strict=True) if _EDGE < u < 1 - _EDGE}
        return {name: edge for name, edge in edges.items() if name not in inside}


def _scale(scale: float | Mapping[str, float], name: str) -> float:
    value = scale.get(name, 0.5) if isinstance(scale, Mapping) else scale
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpaceError(
            "not a perturbation scale",
            where=f"self_tuning.scale.{name}",
            given=value,
            expected="a finite number above 0",
        )
    return float(value)


def _logit(position: Tensor) -> Tensor:
    return torch.log(position) - torch.log1p(-position)


def value_at(position: Tensor, distribution: BaseDistribution) -> Tensor:
    """Return the values of one numeric hyperparameter at positions in [0, 1] on its axis of the unit cube.

    Args:
        position: ``(...)``.
        distribution: Its range.

    Returns:
        ``(...)``, inside the range; whole numbers as floats.
    """
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution) and distribution.log:
        value = torch.exp(math.log(low - 0.5) + position * (math.log(high + 0.5) - math.log(low - 0.5)))
        return value.round().clamp(low, high)
    step = distribution.step
    if step is not None:
        cells = round((high - low) / step) + 1
        return low + step * (position * cells).floor().clamp(max=cells - 1)
    if distribution.log:
        return torch.exp(math.log(low) + position * (math.log(high) - math.log(low)))
    return low + position * (high - low)


def as_range(distribution: BaseDistribution) -> BaseDistribution:
    """Return the range that a choice of numbers spans, for code that only knows ranges; ranges as they are."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = [float(choice) for choice in distribution.choices]  # type: ignore[arg-type]
        return FloatDistribution(min(numbers), max(numbers))
    return distribution
