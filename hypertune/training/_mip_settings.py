"""How a hypernetwork over the search space is built and trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypertune.errors import ConfigError
from hypertune.training.settings import TrainingSettings

__all__ = ["HypernetworkSettings"]


@dataclass(frozen=True, slots=True)
class HypernetworkSettings:
    """How the hypernetwork of a search is built and trained.

    Attributes:
        trials: Passes over the training data, as a multiple of a trial's epochs, above 0.
        epochs: Passes over the training data, at least 1; None: by ``trials``.
        head: ``auto``, ``full``, ``low_rank``, ``chunked`` or ``gated``; see `MIPHypernetwork`.
        max_parameters: Largest number of parameters of body and head.
        rank: Rank of the changes of a weight matrix, for ``low_rank``.
        hidden: Units of each layer of the body; None: 16 and 128, the last fewer where a full head needs it.
        activation: The body's activation.
        normalization: ``none`` or ``layer``.
        encoding: ``mip`` or ``raw``.
        residual: Whether the head's outputs are added to free weights.
        draws: Points of the space in a batch, at least 1; with the head ``gated`` every example has one of its own.
        lr: Learning rate of Adam, above 0; it follows a cosine down to 0.
        grad_clip: Largest global L2 norm of the gradient; None: not clipped.
        snapshots: States, at equal distances over the training, whose predictions are averaged, at least 1.
        region_share: Share of the draws that come from a region of interest, when one is given, in [0, 1].
        checks: How many times, at equal distances, the predictions are compared with real trials, when there are any.
        target: Rank correlation with real trials that ends training, in (0, 1].
        patience: Comparisons without a better rank correlation that end training; None: never.
        include: Path patterns of the layers that respond, for ``gated``.
        exclude: Path patterns of the layers that do not respond, for ``gated``.
        bind: What hyperparameters act on, where that cannot be told.
        batch_axes: Axis of the batch in a layer's input by path pattern, where it is not the first, or ``merged``.

    Raises:
        ConfigError: A value is out of range.
    """

    trials: float = 1.0
    epochs: int | None = None
    head: str = "auto"
    max_parameters: int = 5_000_000
    rank: int = 8
    hidden: tuple[int, ...] | None = None
    activation: str = "leaky_relu"
    normalization: str = "none"
    encoding: str = "mip"
    residual: bool = True
    draws: int = 4
    lr: float = 3e-3
    grad_clip: float | None = 10.0
    snapshots: int = 3
    region_share: float = 0.5
    checks: int = 10
    target: float = 0.95
    patience: int | None = 3
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    bind: Mapping[str, Any] = field(default_factory=dict)
    batch_axes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "max_parameters", "rank", "draws", "snapshots", "checks", "patience"):
            value = getattr(self, name)
            if value is None and name in {"epochs", "patience"}:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise _out_of_range(name, value, "a whole number of at least 1")
        for name in ("trials", "lr", "grad_clip", "target"):
            value = getattr(self, name)
            if not (_is_finite(value) and value > 0) and not (name == "grad_clip" and value is None):
                raise _out_of_range(name, value, "a finite number above 0")
        if self.target > 1:
            raise _out_of_range("target", self.target, "a rank correlation in (0, 1]")
        if not _is_finite(self.region_share) or not 0 <= self.region_share <= 1:
            raise _out_of_range("region_share", self.region_share, "a share in [0, 1]")

    def passes(self, settings: TrainingSettings) -> int:
        """Return the number of passes over the training data that training takes when nothing ends it earlier."""
        return max(1, round(self.trials * settings.epochs)) if self.epochs is None else self.epochs

    def network(self) -> dict[str, Any]:
        """Return the options of `MIPHypernetwork`."""
        names = ("head", "max_parameters", "rank", "hidden", "activation", "normalization", "encoding", "residual")
        return {name: getattr(self, name) for name in (*names, "include", "exclude", "batch_axes")}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _out_of_range(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError("out of range", where=f"sampler.hypernetwork.{name}", given=value, expected=expected)
