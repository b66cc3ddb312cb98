"""Activation modules by name, and mixtures of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from hypertune.errors import FamilyError, did_you_mean
from hypertune.records import Params

__all__ = ["ACTIVATIONS", "MIX_DOC", "Activation", "MixedActivation", "Mixture", "activation_module", "read_activation"]

_MODULES: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "hardtanh": nn.Hardtanh,
}

ACTIVATIONS = tuple(_MODULES)
"""Activations the shipped families offer, by their PyTorch names; ``relu+hardtanh`` mixes two of them."""

MIX_DOC = "of an activation such as relu+hardtanh: share of the first, from 0 to 1"
"""What the hyperparameter ``activation_mix`` is."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """``share * first + (1 - share) * second``, both of `ACTIVATIONS`."""

    first: str
    second: str
    share: float


Activation: TypeAlias = str | Mixture
"""One of `ACTIVATIONS`, or a mixture of two."""


class MixedActivation(nn.Module):
    """``a first(x) + (1 - a) second(x)``: between two activations, one number for all units [Balcan25, section 5].

    References:
        [Balcan25] Balcan, Nguyen, Sharma. Sample complexity of data-driven tuning of model hyperparameters in neural
            networks with structured parameter-dependent dual function. NeurIPS 2025, arXiv 2501.13734.
    """

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.first, self.second = activation_module(mixture.first), activation_module(mixture.second)
        self.share = mixture.share

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the shape of ``x``."""
        mixed: Tensor = self.share * self.first(x) + (1 - self.share) * self.second(x)
        return mixed

    def extra_repr(self) -> str:
        """Return the share of the first."""
        return f"share={self.share:g}"


def activation_module(activation: Activation) -> nn.Module:
    """Return a new activation module."""
    return MixedActivation(activation) if isinstance(activation, Mixture) else _MODULES[activation]()


def read_activation(params: Params, default: str) -> Activation:
    """Return the activation that ``activation`` and, for a mixture, ``activation_mix`` (1/2 by default) ask for.

    Raises:
        FamilyError: There is no such activation, or the share is out of range.
    """
    name, share = params.get("activation", default), params.get("activation_mix", 0.5)
    parts = name.split("+") if isinstance(name, str) else [name]
    for part in parts:
        if part not in _MODULES or len(parts) > 2:
            raise FamilyError(
                "unknown activation",
                where="family.activation",
                given=name,
                expected=f"one of {', '.join(ACTIVATIONS)}, or two of them as in relu+hardtanh",
                fix=did_you_mean(str(part), ACTIVATIONS),
            )
    if len(parts) == 1:
        return str(name)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
        raise FamilyError("not a share", where="family.activation_mix", given=share, expected="a number in [0, 1]")
    return Mixture(str(parts[0]), str(parts[1]), float(share))
