"""How the trials of a study tune themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hypertune.errors import ConfigError, did_you_mean

__all__ = ["ALGORITHMS", "SelfTuningSettings"]

ALGORITHMS = ("stn", "delta_stn")


@dataclass(frozen=True, slots=True)
class SelfTuningSettings:
    """How every self-tuning trial of a study tunes its hyperparameters.

    Attributes:
        algorithm: ``stn`` [MacKay19] or ``delta_stn`` [Bae20].
        warmup: Share of the trial's epochs, in [0, 1), during which the response is trained and nothing is tuned.
        train_steps: Weight steps between two rounds of tuning, at least 1.
        tune_steps: Tune steps in a round, at least 1.
        lr: Learning rate of the unconstrained hyperparameters (Adam), above 0.
        scale: Initial standard deviation of their perturbation, above 0.
        tune_scale: Whether the perturbation scales are tuned too.
        entropy: Weight of the entropy bonus on the scales, at least 0.
        clip: Largest L2 norm of the hyperparameters' gradient; None: not clipped.
        response_lr: Learning rate of the response, as a multiple of the weights' learning rate, above 0.
        rank: 0: a unit's weights shrink and grow as a whole; r > 0: they move along r learned directions.
        per_example: Whether every example gets a perturbation of its own, or a batch shares one.
        antithetic: Whether perturbations come in pairs of opposite sign.
        linearize: With ``delta_stn``: whether the response trains on the linearised model.
        tuning_fraction: Share of the validation split, in (0, 1), that the hyperparameters are tuned on; the rest
            selects epochs and trials. A task with a ``tune`` split of its own uses that, and all of validation selects.
        include: Path patterns of the layers that respond.
        exclude: Path patterns of the layers that stay plain.
        bind: What hyperparameters act on, where that cannot be told; see `hypernets.binding.resolve_bindings`.
        batch_axes: Axis of the batch in a layer's input by path pattern, where it is not the first, or ``merged``.
        replay: Path of the ``schedule.csv`` of a self-tuned trial: the values follow it, and nothing is tuned.

    Raises:
        ConfigError: A value is out of range.
    """

    algorithm: str = "stn"
    warmup: float = 0.08
    train_steps: int = 5
    tune_steps: int = 1
    lr: float = 0.05
    scale: float = 0.5
    tune_scale: bool = True
    entropy: float = 1e-3
    clip: float | None = 1.0
    response_lr: float = 1.0
    rank: int = 0
    per_example: bool = True
    antithetic: bool = True
    linearize: bool = True
    tuning_fraction: float = 0.5
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    bind: Mapping[str, Any] = field(default_factory=dict)
    batch_axes: Mapping[str, Any] = field(default_factory=dict)
    replay: str | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(
                "unknown algorithm",
                where="trial.self_tuning.algorithm",
                given=self.algorithm,
                expected=f"one of {', '.join(ALGORITHMS)}",
                fix=did_you_mean(self.algorithm, ALGORITHMS),
            )
        for name, low in (("train_steps", 1), ("tune_steps", 1), ("rank", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise _out_of_range(name, value, f"a whole number of at least {low}")
        for name in ("lr", "scale", "response_lr", "clip"):
            value = getattr(self, name)
            if not (_is_finite(value) and value > 0) and not (name == "clip" and value is None):
                raise _out_of_range(name, value, "a finite number above 0")
        if not _is_finite(self.entropy) or self.entropy < 0:
            raise _out_of_range("entropy", self.entropy, "a finite number of at least 0")
        if not _is_finite(self.warmup) or not 0 <= self.warmup < 1:
            raise _out_of_range("warmup", self.warmup, "a share of the epochs in [0, 1)")
        if not _is_finite(self.tuning_fraction) or not 0 < self.tuning_fraction < 1:
            raise _out_of_range("tuning_fraction", self.tuning_fraction, "a share of the validation split in (0, 1)")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _out_of_range(name: str, value: object, expected: str) -> ConfigError:
    return ConfigError("out of range", where=f"trial.self_tuning.{name}", given=value, expected=expected)
